"""The servers without containers: settings, what is started, and that it is what the containers run."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import yaml

INFRA = Path(__file__).resolve().parents[2] / "infra"
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def native() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("native", INFRA / "native.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["native"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    for process in module._started:
        process.wait(timeout=10)


@pytest.fixture
def settings_file(native: ModuleType, tmp_path: Path) -> Path:
    native.write_settings(tmp_path / "env")
    return tmp_path / "env"


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(INFRA / "native.py"), *map(str, arguments)], capture_output=True, text=True, check=False
    )


# ---- settings ----------------------------------------------------------------------------------------------------


def test_init_makes_secrets_for_one_pair_of_eyes(native: ModuleType, settings_file: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(settings_file.stat().st_mode) == 0o600
    settings = native.read_settings(settings_file)
    made = [settings[name] for name in native.REQUIRED if name != "UNLABELED_REPOSITORY"]
    assert all(len(secret) >= 32 for secret in made)
    native.write_settings(tmp_path / "another")
    other = native.read_settings(tmp_path / "another")
    assert len({*made, *(other[name] for name in native.REQUIRED)}) == 2 * len(made) + 1


def test_init_overwrites_nothing(settings_file: Path) -> None:
    before = settings_file.read_text()
    result = command("init", "--settings", settings_file)
    assert result.returncode == 2
    assert "exists; delete it" in result.stderr
    assert settings_file.read_text() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("PREFECT_PASSWORD=", "#PREFECT_PASSWORD="), "PREFECT_PASSWORD is missing"),
        (lambda text: text + "PREFECT_PROT=1\n", "unknown name PREFECT_PROT"),
        (lambda text: text + "S3_PORT=abc\n", "S3_PORT must be a number, not 'abc'"),
    ],
)
def test_wrong_settings_are_named(settings_file: Path, change: Callable[[str], str], message: str) -> None:
    settings_file.write_text(change(settings_file.read_text()))
    result = command("up", "--settings", settings_file, "--folder", settings_file.parent / "servers")
    assert result.returncode == 2
    assert f"error: {settings_file}: " in result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_settings_that_are_not_there() -> None:
    result = command("status", "--settings", "nowhere/env")
    assert (result.returncode, result.stderr) == (
        2,
        "error: nowhere/env is missing: run 'python infra/native.py init'\n",
    )


def test_env_is_for_a_shell(native: ModuleType, settings_file: Path) -> None:
    secret = native.read_settings(settings_file)["PREFECT_PASSWORD"]
    shell = f'eval "$({sys.executable} {INFRA}/native.py env --settings {settings_file} --host team.example.org)"; env'
    said = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert "PREFECT_API_URL=http://team.example.org:4200/api\n" in said
    assert f"PREFECT_API_AUTH_STRING=admin:{secret}\n" in said
    assert "AWS_ENDPOINT_URL=http://team.example.org:8333\n" in said


# ---- the same as in containers -----------------------------------------------------------------------------------


def test_containers_run_what_is_proved_here(native: ModuleType, settings_file: Path, tmp_path: Path) -> None:
    """Same commands, same settings: only addresses, ports and folders differ."""
    settings = native.read_settings(settings_file)
    places = {
        "postgres": "127.0.0.1",
        "http://prefect:4200": "http://127.0.0.1:4200",
        "http://mlflow:5000": "http://127.0.0.1:5000",
        "http://s3:8333": "http://127.0.0.1:8333",
        "0.0.0.0": "127.0.0.1",
        "/data": str(tmp_path / "s3"),
        "/workspace": str(tmp_path / "workspace"),
    }

    def here(text: str) -> str:
        for name, value in settings.items():
            for end in ("", ":?set it in infra/.env", f":-{native.DEFAULTS.get(name)}"):
                text = text.replace(f"${{{name}{end}}}", value)
        for there, place in places.items():
            if text == there or (there.startswith("http") and text.startswith(there)):
                text = text.replace(there, place)
        return text.replace("=0.0.0.0", "=127.0.0.1").replace("/infra/", f"{INFRA}/")

    for service in native.services(settings, tmp_path):
        if service.name == "postgres":
            continue  # its image starts it in its own way
        container = COMPOSE["services"][service.name]
        assert service.command == [here(word) for word in container["command"]]
        assert service.environment == {name: here(str(value)) for name, value in container["environment"].items()}


# ---- processes ---------------------------------------------------------------------------------------------------


def test_down_stops_what_up_has_started_and_nothing_else(
    native: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server goes when it is asked, what it leaves behind is killed."""
    monkeypatch.setattr(native, "STOP_SECONDS", 0.5)
    (tmp_path / "logs").mkdir()
    service = native.Service(
        "sleeper", ["sh", "-c", "echo $SECRET; sleep 600 & wait"], {"SECRET": "given"}, lambda: True
    )
    process = native.start(service, tmp_path)
    other = subprocess.Popen(["sleep", "600"])
    try:
        native.remember(tmp_path, {"sleeper": process, "gone": psutil.Process(other.pid)})
        # a number that belongs to another process by now
        noted = json.loads((tmp_path / "processes.json").read_text())
        noted["gone"][1] = "another boot 1"
        (tmp_path / "processes.json").write_text(json.dumps(noted))
        assert native.processes(tmp_path).keys() == {"sleeper"}
        children = wait_for_children(process)
        native.down(tmp_path)
        assert not any(native.alive(one) for one in [process, *children])
        assert native.processes(tmp_path) == {}
        assert other.poll() is None
        assert (tmp_path / "logs" / "sleeper.log").read_text().strip() == "given"
    finally:
        other.kill()
        other.wait()


def test_single_servers_go_down(native: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    started = {
        name: native.start(native.Service(name, ["sleep", "600"], {}, lambda: True), tmp_path)
        for name in ("postgres", "mlflow", "worker")
    }
    native.remember(tmp_path, started)
    try:
        native.down(tmp_path, ["mlflow"])
        assert native.processes(tmp_path).keys() == {"postgres", "worker"}
        assert not native.alive(started["mlflow"])
    finally:
        native.down(tmp_path)
    assert native.processes(tmp_path) == {}


def test_down_where_nothing_has_ever_run(tmp_path: Path) -> None:
    result = command("down", "--folder", tmp_path / "nowhere")
    assert (result.returncode, result.stdout) == (0, f"no server runs in {tmp_path}/nowhere\n")


def test_server_that_does_not_exist(tmp_path: Path) -> None:
    result = command("up", "mlflo", "--folder", tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: no server is called 'mlflo'; there are postgres, s3, prefect, mlflow, worker\n"


def wait_for_children(process: psutil.Process) -> list[psutil.Process]:
    deadline = time.monotonic() + 10
    while not (children := process.children()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return children


def test_server_that_ends_is_named_with_what_it_said(native: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    service = native.Service("broken", ["sh", "-c", "echo no such database >&2; exit 3"], {}, lambda: False)
    with pytest.raises(native.SetupError, match=r"broken ended; see .*broken.log:\nno such database"):
        native.wait_for(service, native.start(service, tmp_path), tmp_path)


def test_nothing_of_the_callers_environment_reaches_a_server(
    native: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere")
    process = native.start(native.Service("printer", ["env"], {"OWN": "1"}, lambda: True), tmp_path)
    psutil.wait_procs([process], timeout=10)
    said = (tmp_path / "logs" / "printer.log").read_text()
    assert "OWN=1" in said
    assert "elsewhere" not in said


@pytest.mark.parametrize("secret", ['a"b', "", "a b", "$(id)"])
def test_store_refuses_a_secret_that_would_break_its_settings(tmp_path: Path, secret: str) -> None:
    environment = {"PATH": os.environ["PATH"], "S3_DATA": str(tmp_path / "s3"), "S3_BIND": "127.0.0.1", "S3_PORT": "1",
                   "S3_MLFLOW_SECRET": "fine", "S3_DVC_SECRET": secret}  # fmt: skip
    result = subprocess.run(
        ["sh", str(INFRA / "s3.sh")], env=environment, capture_output=True, text=True, check=False, timeout=20
    )
    assert result.returncode == 2
    assert "S3_DVC_SECRET" in result.stderr
    assert not (tmp_path / "s3").exists()
