"""A team's servers on one host without containers: PostgreSQL, S3 store, Prefect server, MLflow server, worker.

    python infra/native.py init      infra/.env with random secrets (for compose.yaml as well)
    python infra/native.py up        start what is not running, wait until all answer
    python infra/native.py status    what answers; exit code 1 if something does not
    python infra/native.py env       what a client needs, as lines for a shell: eval "$(python infra/native.py env)"
    python infra/native.py down      stop all; data stay

`up` and `down` take names of single servers as well: postgres, s3, prefect, mlflow, worker.
Commands and settings are those of compose.yaml (a test compares them). PostgreSQL's programs come from the
distribution, `weed` from infra/servers.txt, the rest from requirements.lock. As root, PostgreSQL runs as `postgres`.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from dotenv import dotenv_values

INFRA = Path(__file__).resolve().parent
EXAMPLE = INFRA / ".env.example"
FOLDER = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "unlabeled-servers"
DEFAULTS = {"BIND": "127.0.0.1", "POSTGRES_PORT": "5432", "PREFECT_PORT": "4200", "MLFLOW_PORT": "5000",
            "S3_PORT": "8333", "MLFLOW_ALLOWED_HOSTS": "mlflow:*,localhost:*,127.0.0.1:*"}  # fmt: skip
REQUIRED = ("POSTGRES_PASSWORD", "PREFECT_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "PREFECT_PASSWORD", "UNLABELED_REPOSITORY",
            "MLFLOW_ADMIN_PASSWORD", "MLFLOW_SECRET_KEY", "S3_MLFLOW_SECRET", "S3_DVC_SECRET")  # fmt: skip
NAMES = ("postgres", "s3", "prefect", "mlflow", "worker")
START_SECONDS = 300
STOP_SECONDS = 30


_started: list[subprocess.Popen[bytes]] = []  # they outlive this process, which is nothing to warn about


class SetupError(Exception):
    """Something is missing or wrong; the message names the remedy."""


@dataclass(frozen=True)
class Service:
    """One server: how it is started, and how one sees that it works."""

    name: str
    command: list[str]
    environment: dict[str, str]
    answers: Callable[[], bool]


def read_settings(path: Path) -> dict[str, str]:
    """The settings in `path`, with defaults. Raises `SetupError` if one is missing or unknown."""
    if not path.is_file():
        raise SetupError(f"{path} is missing: run 'python infra/native.py init'")
    given = {name: value for name, value in dotenv_values(path).items() if value}
    unknown = sorted(given.keys() - {*REQUIRED, *DEFAULTS})
    missing = [name for name in REQUIRED if name not in given]
    if unknown or missing:
        raise SetupError(f"{path}: " + "; ".join(
            [f"{name} is missing (see {EXAMPLE.name})" for name in missing] + [f"unknown name {name}" for name in unknown]
        ))  # fmt: skip
    for name in DEFAULTS:
        if name.endswith("_PORT") and not given.get(name, "1").isdigit():
            raise SetupError(f"{path}: {name} must be a number, not {given[name]!r}")
    return {**DEFAULTS, **given}


def write_settings(path: Path) -> None:
    """Copy .env.example with a random value behind every empty name. Never overwrites. Raises `SetupError`."""
    if path.exists():
        raise SetupError(f"{path} exists; delete it to start anew (and with it the passwords of servers that run)")
    lines = [
        line + secrets.token_urlsafe(24) if line.endswith("=") and not line.startswith("#") else line
        for line in EXAMPLE.read_text().splitlines()
    ]
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write("\n".join(lines) + "\n")


def client_environment(settings: dict[str, str], host: str | None = None) -> dict[str, str]:
    """What `unlabeled`, `dvc`, `prefect` and `mlflow` need in their environment to work with these servers.

    `host`: name or address of the servers, as the client calls them; default: the address they listen on.
    """
    host = host or ("127.0.0.1" if settings["BIND"] == "0.0.0.0" else settings["BIND"])
    return {
        "PREFECT_API_URL": f"http://{host}:{settings['PREFECT_PORT']}/api",
        "PREFECT_API_AUTH_STRING": f"admin:{settings['PREFECT_PASSWORD']}",
        "MLFLOW_TRACKING_URI": f"http://{host}:{settings['MLFLOW_PORT']}",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": settings["MLFLOW_ADMIN_PASSWORD"],
        "AWS_ENDPOINT_URL": f"http://{host}:{settings['S3_PORT']}",
        "AWS_ACCESS_KEY_ID": "dvc",
        "AWS_SECRET_ACCESS_KEY": settings["S3_DVC_SECRET"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }


def services(settings: dict[str, str], folder: Path) -> list[Service]:
    """All servers in the order in which they are started. Raises `SetupError` if a program is missing."""
    bind, ports = settings["BIND"], {name: settings[f"{name}_PORT"] for name in ("POSTGRES", "PREFECT", "MLFLOW", "S3")}
    local = "127.0.0.1" if bind == "0.0.0.0" else bind
    data, s3 = folder / "postgres", folder / "s3"
    return [
        Service(
            "postgres",
            as_postgres([program("postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", ports["POSTGRES"], "-k", ""]),
            {},
            lambda: has_databases(settings),
        ),
        Service(
            "s3",
            ["sh", str(INFRA / "s3.sh")],
            {
                "S3_DATA": str(s3),
                "S3_BIND": bind,
                "S3_PORT": ports["S3"],
                "S3_MLFLOW_SECRET": settings["S3_MLFLOW_SECRET"],
                "S3_DVC_SECRET": settings["S3_DVC_SECRET"],
            },
            lambda: (s3 / "buckets-made").exists() and url_answers(f"http://{local}:{ports['S3']}/healthz"),
        ),
        Service(
            "prefect",
            ["prefect", "server", "start"],
            {
                "PREFECT_SERVER_API_HOST": bind,
                "PREFECT_SERVER_API_PORT": ports["PREFECT"],
                "PREFECT_SERVER_API_AUTH_STRING": f"admin:{settings['PREFECT_PASSWORD']}",
                "PREFECT_SERVER_UI_API_URL": "/api",
                "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
                "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
                "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
                "PREFECT_SERVER_DATABASE_PORT": ports["POSTGRES"],
                "PREFECT_SERVER_DATABASE_NAME": "prefect",
                "PREFECT_SERVER_DATABASE_USER": "prefect",
                "PREFECT_SERVER_DATABASE_PASSWORD": settings["PREFECT_DB_PASSWORD"],
            },
            lambda: url_answers(f"http://{local}:{ports['PREFECT']}/api/health"),
        ),
        Service(
            "mlflow",
            [
                "mlflow",
                "server",
                f"--host={bind}",
                f"--port={ports['MLFLOW']}",
                "--workers=2",
                "--app-name=basic-auth",
                "--backend-store-uri=postgresql:///mlflow",
                "--serve-artifacts",
                "--artifacts-destination=s3://mlflow",
            ],
            {
                "PGHOST": "127.0.0.1",
                "PGPORT": ports["POSTGRES"],
                "PGUSER": "mlflow",
                "PGPASSWORD": settings["MLFLOW_DB_PASSWORD"],
                "MLFLOW_S3_ENDPOINT_URL": f"http://{local}:{ports['S3']}",
                "AWS_ACCESS_KEY_ID": "mlflow",
                "AWS_SECRET_ACCESS_KEY": settings["S3_MLFLOW_SECRET"],
                "AWS_DEFAULT_REGION": "us-east-1",
                "MLFLOW_AUTH_CONFIG_PATH": str(INFRA / "mlflow-auth.ini"),
                "MLFLOW_AUTH_ADMIN_PASSWORD": settings["MLFLOW_ADMIN_PASSWORD"],
                "MLFLOW_FLASK_SERVER_SECRET_KEY": settings["MLFLOW_SECRET_KEY"],
                "MLFLOW_SERVER_ALLOWED_HOSTS": settings["MLFLOW_ALLOWED_HOSTS"],
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "DO_NOT_TRACK": "1",
            },
            lambda: url_answers(f"http://{local}:{ports['MLFLOW']}/health"),
        ),
        Service(
            "worker",
            ["sh", str(INFRA / "worker.sh")],
            {
                "WORKSPACE": str(folder / "workspace"),
                "UNLABELED_REPOSITORY": settings["UNLABELED_REPOSITORY"],
                **client_environment(settings),
            },
            lambda: worker_is_online(settings),
        ),
    ]


# ---- up, down, status ------------------------------------------------------------------------------------------


def up(settings: dict[str, str], folder: Path, only: list[str] | None = None) -> None:
    """Start every server (or those named) that is not running and wait until it answers. Raises `SetupError`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    all_services = services(settings, folder)
    if not (folder / "postgres" / "PG_VERSION").exists():
        create_cluster(settings, folder)
    running = processes(folder)
    for service in all_services:
        if only and service.name not in only:
            continue
        if service.name not in running:
            if service.answers():
                raise SetupError(f"{service.name}: something else answers at its port; change it in infra/.env")
            running[service.name] = start(service, folder)
            remember(folder, running)
        wait_for(service, running[service.name], folder)
        if service.name == "postgres":
            create_databases(settings)
        print(f"{service.name} is up", flush=True)


def start(service: Service, folder: Path) -> psutil.Process:
    """Start one server in a process group of its own, with its output in logs/<name>.log."""
    # A clean environment: settings of whoever starts the servers must not reach them.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ", "SSH_AUTH_SOCK") if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    home = folder / "prefect-home" / service.name
    home.mkdir(parents=True, exist_ok=True)
    with open(folder / "logs" / f"{service.name}.log", "a") as log:
        process = subprocess.Popen(
            service.command,
            cwd="/" if service.name == "postgres" else folder,
            env={**kept, "PATH": path, "PREFECT_HOME": str(home), **service.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started.append(process)
    return psutil.Process(process.pid)


def wait_for(service: Service, process: psutil.Process, folder: Path) -> None:
    """Wait until a server answers. Raises `SetupError` with the end of its log."""
    deadline = time.monotonic() + START_SECONDS
    while not service.answers():
        ended = not alive(process)
        if ended or time.monotonic() > deadline:
            log = folder / "logs" / f"{service.name}.log"
            said = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise SetupError(f"{service.name} {'ended' if ended else 'does not answer'}; see {log}:\n{said}")
        time.sleep(0.3)


def down(folder: Path, only: list[str] | None = None) -> None:
    """Stop every server (or those named), the last one first, and all that they have started; data stay."""
    running = processes(folder)
    for name, process in reversed(list(running.items())):
        if only and name not in only:
            continue
        children = process.children(recursive=True)
        with suppress(psutil.NoSuchProcess):
            # Its fast shutdown: PostgreSQL otherwise waits until every client has left.
            process.send_signal(2 if name == "postgres" else 15)
        _, left = psutil.wait_procs([process, *children], timeout=STOP_SECONDS)
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, timeout=STOP_SECONDS)
        print(f"{name} is down" + (f" ({len(left)} process(es) killed)" if left else ""), flush=True)
        del running[name]
    remember(folder, running)


def status(settings: dict[str, str], folder: Path) -> int:
    """Print one line for each server; returns 0 if all answer, else 1."""
    running, well = processes(folder), True
    for service in services(settings, folder):
        process = running.get(service.name)
        answers = process is not None and service.answers()
        well &= answers
        state = "answers" if answers else "does not answer" if process else "is not running"
        print(f"{service.name:<9} {state}" + (f" (process {process.pid})" if process else ""))
    return 0 if well else 1


def processes(folder: Path) -> dict[str, psutil.Process]:
    """The servers that run, as noted in the folder; a number that another process has by now does not count."""
    noted = folder / "processes.json"
    found = {}
    for name, (pid, mark) in (json.loads(noted.read_text()) if noted.exists() else {}).items():
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            process = psutil.Process(pid)
            if start_mark(pid) == mark and alive(process):
                found[name] = process
    return found


def start_mark(pid: int) -> str:
    """When a process was started, as ticks since this boot: a time of day would move when the clock is set."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"


def remember(folder: Path, running: dict[str, psutil.Process]) -> None:
    noted = folder / "processes.json"
    marks = {}
    for name, process in running.items():
        with suppress(FileNotFoundError):  # ended already
            marks[name] = [process.pid, start_mark(process.pid)]
    noted.with_suffix(".new").write_text(json.dumps(marks))
    noted.with_suffix(".new").replace(noted)


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


# ---- PostgreSQL ------------------------------------------------------------------------------------------------


def program(name: str) -> str:
    """Path of one of PostgreSQL's programs. Raises `SetupError`."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: float(p.parents[1].name))
    found = shutil.which(name) or (str(places[-1]) if places else None)
    if found is None:
        raise SetupError(f"PostgreSQL's program '{name}' is not found: 'apt-get install postgresql', or put it on PATH")
    return found


def as_postgres(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command] if os.geteuid() == 0 else command
    )


def create_cluster(settings: dict[str, str], folder: Path) -> None:
    """initdb in the folder, with passwords asked for. Raises `SetupError`."""
    data = folder / "postgres"
    data.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(data, "postgres", "postgres")
    password = folder / "password"
    try:
        password.touch(mode=0o600)
        password.write_text(settings["POSTGRES_PASSWORD"])
        if os.geteuid() == 0:
            shutil.chown(password, "postgres", "postgres")
        command = [program("initdb"), "-D", str(data), "--username=postgres", "--auth=scram-sha-256",
                   "--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8", f"--pwfile={password}"]  # fmt: skip
        result = subprocess.run(as_postgres(command), cwd="/", capture_output=True, text=True, check=False)
    finally:
        password.unlink()
    if result.returncode:
        remedy = ""
        if os.geteuid() == 0:
            remedy = f"\nthe user 'postgres' must be able to reach {data}: give --folder, such as /srv/unlabeled"
        raise SetupError(f"initdb failed: {result.stderr.strip() or result.stdout.strip()}{remedy}")


def psql(settings: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run psql as the superuser."""
    environment = {**os.environ, **settings, "PGHOST": "127.0.0.1", "PGPORT": settings["POSTGRES_PORT"],
                   "PGUSER": "postgres", "PGPASSWORD": settings["POSTGRES_PASSWORD"]}  # fmt: skip
    return subprocess.run(
        [program("psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", *arguments],
        env=environment, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip


def has_databases(settings: dict[str, str]) -> bool:
    return psql(settings, "--dbname=postgres", "--command=SELECT 1").returncode == 0


def create_databases(settings: dict[str, str]) -> None:
    """databases.sql, unless it has run. Raises `SetupError`."""
    if "mlflow_auth" in psql(settings, "--dbname=postgres", "--command=SELECT datname FROM pg_database").stdout:
        return
    result = psql(settings, "--dbname=postgres", f"--file={INFRA / 'databases.sql'}")
    if result.returncode:
        raise SetupError(f"{INFRA / 'databases.sql'}: {result.stderr.strip()}")


# ---- the others ------------------------------------------------------------------------------------------------


def url_answers(url: str, authorization: str | None = None) -> bool:
    """Whether an address gives 200."""
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def worker_is_online(settings: dict[str, str]) -> bool:
    """Whether the pool `unlabeled` has a worker that Prefect has heard of lately."""
    from base64 import b64encode

    client = client_environment(settings)
    request = urllib.request.Request(
        f"{client['PREFECT_API_URL']}/work_pools/unlabeled/workers/filter",
        data=b"{}",
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Basic {b64encode(client['PREFECT_API_AUTH_STRING'].encode()).decode()}",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return any(worker["status"] == "ONLINE" for worker in json.load(answer))
    except (urllib.error.URLError, OSError, ValueError):
        return False


def main() -> int:
    """Command line; returns the exit code: 2 for a wrong setting or a server that does not start."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("action", choices=["init", "up", "status", "env", "down"])
    parser.add_argument("servers", nargs="*", help=f"with up and down, these alone: {', '.join(NAMES)}")
    parser.add_argument("--settings", type=Path, default=INFRA / ".env", help="default: infra/.env")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help=f"data, logs, the worker's clone; default: {FOLDER}"
    )
    parser.add_argument("--host", help="with env: name of the servers' host, as the client calls it")
    given = parser.parse_args()
    folder = given.folder.resolve()
    try:
        if unknown := [name for name in given.servers if name not in NAMES]:
            raise SetupError(f"no server is called {unknown[0]!r}; there are {', '.join(NAMES)}")
        if given.action == "init":
            write_settings(given.settings)
            print(f"wrote {given.settings}; look at UNLABELED_REPOSITORY in it")
        elif given.action == "up":
            up(read_settings(given.settings), folder, given.servers)
        elif given.action == "status":
            return status(read_settings(given.settings), folder)
        elif given.action == "env":
            for name, value in client_environment(read_settings(given.settings), given.host).items():
                print(f"export {name}={shlex.quote(value)}")
        elif processes(folder):
            down(folder, given.servers)
        else:
            print(f"no server runs in {folder}")
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
