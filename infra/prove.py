"""Prove that a team's servers work on this host: start them on free ports in a temporary folder, use them, stop them.

    python infra/prove.py                  the servers of native.py: PostgreSQL, S3 store, Prefect, MLflow, a worker
    python infra/prove.py --sqlite         the ten flows only, on Prefect and MLflow servers with SQLite stores
    python infra/prove.py --flows 3        fewer flows side by side
    python infra/prove.py --only worker    one check: strangers, flows, cache, worker or killed
    python infra/prove.py --json FILE      the figures, for machines

It needs what native.py needs, and takes some minutes. Its projects are clones of this repository with the small steps of
tests/toy in the place of the real ones. One line for each check; exit code 1 if one failed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import native

REPOSITORY = native.INFRA.parent
BIN = Path(sys.executable).parent
LOCKED = re.compile(r"database (table )?is locked", re.IGNORECASE)
HEARTBEAT_SECONDS = 30  # the least that Prefect accepts
CHECKS = ("strangers", "flows", "cache", "worker", "killed")
FOLLOW = ("run cache", "artifacts")  # they look at what "cache" has made
TERMINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Wrong(Exception):
    """A check failed; the message says what was found."""


def expect(condition: object, found: str) -> None:
    if not condition:
        raise Wrong(found)


@dataclass
class Team:
    """The servers, what their clients need, and a project for them to work on."""

    folder: Path
    client: dict[str, str]
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def clone(self, name: str) -> Path:
        """A new clone of the project, with nothing in it but what git has."""
        folder = self.folder / name
        run(["git", "clone", "--quiet", str(self.project), str(folder)], self.folder)
        return folder

    def run(self, workspace: Path, *command: str, **environment: str) -> str:
        """Run a command in a workspace as a team member would; its output. Raises `Wrong` if it fails."""
        return run([str(BIN / command[0]), *command[1:]], workspace, {**self.environment(workspace), **environment})

    def environment(self, workspace: Path) -> dict[str, str]:
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "AWS_", "DVC_", "GIT_"))
        }
        return {
            **kept,
            **self.client,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PWD": str(workspace),  # prefect.yaml asks for it
            "PYTHONPATH": str(workspace),
            "PREFECT_HOME": str(self.folder / "homes" / workspace.name),
            "DVC_SITE_CACHE_DIR": str(self.folder / "sites" / workspace.name),
            "DVC_NO_ANALYTICS": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            "COLUMNS": "160",
        }

    def prefect(self, path: str, body: dict[str, Any]) -> Any:
        """Ask Prefect's server."""
        headers = {"Content-Type": "application/json"}
        if "PREFECT_API_AUTH_STRING" in self.client:
            secret = base64.b64encode(self.client["PREFECT_API_AUTH_STRING"].encode()).decode()
            headers["Authorization"] = f"Basic {secret}"
        request = urllib.request.Request(
            f"{self.client['PREFECT_API_URL']}{path}", data=json.dumps(body).encode(), headers=headers
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def flow_runs(self) -> dict[str, dict[str, Any]]:
        """All flow runs that Prefect knows, by their id."""
        return {entry["id"]: entry for entry in self.prefect("/flow_runs/filter", {"limit": 200})}

    def mlflow_runs(self, method: str = "toy") -> list[Any]:
        """All runs of a method that MLflow knows."""
        from mlflow import MlflowClient

        os.environ.update({k: v for k, v in self.client.items() if k.startswith("MLFLOW_")})
        client = MlflowClient(self.client["MLFLOW_TRACKING_URI"])
        experiments = client.search_experiments(filter_string=f"name = '{method}'")
        return client.search_runs([e.experiment_id for e in experiments], max_results=5000) if experiments else []

    def evaluations(self) -> Counter[str]:
        """How many finished evaluations MLflow has for each flow run."""
        parents = [r for r in self.mlflow_runs() if r.data.tags.get("unlabeled.parent") == "yes"]
        return Counter(r.data.tags["prefect.flow_run"] for r in parents if r.info.status == "FINISHED")


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    said = result.stdout + result.stderr
    expect(result.returncode == 0, f"{' '.join(command)} in {folder}: exit code {result.returncode}\n{said[-3000:]}")
    return said


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Poll until the condition holds and return what it gave. Raises `Wrong`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        expect(time.monotonic() < deadline, f"{what}: not within {seconds:g} s")
        time.sleep(0.5)
    return found


# ---- checks ----------------------------------------------------------------------------------------------------


def strangers_are_refused(team: Team) -> str:
    """No server answers without its secret, and each key of the store opens its own bucket alone."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import ClientError

    def code(url: str, body: bytes | None = None) -> int:
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        try:
            return urllib.request.urlopen(request, timeout=30).status
        except urllib.error.HTTPError as error:
            return error.code

    def store(key: str | None, bucket: str) -> str:
        config = Config(signature_version=UNSIGNED) if key is None else None
        secret = team.settings["S3_MLFLOW_SECRET" if key == "mlflow" else "S3_DVC_SECRET"]
        client = boto3.client("s3", endpoint_url=team.client["AWS_ENDPOINT_URL"], region_name="us-east-1",
                              aws_access_key_id=key, aws_secret_access_key=secret, config=config)  # fmt: skip
        try:
            client.list_objects_v2(Bucket=bucket)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "open"

    found = {
        "Prefect": code(f"{team.client['PREFECT_API_URL']}/flow_runs/filter", b"{}"),
        "MLflow": code(f"{team.client['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/search?max_results=1"),
        "S3, no key": store(None, "dvc"),
        "S3, dvc's key at bucket mlflow": store("dvc", "mlflow"),
        "S3, mlflow's key at bucket dvc": store("mlflow", "dvc"),
        "S3, each at its own": (store("dvc", "dvc"), store("mlflow", "mlflow")),
    }
    expect(
        list(found.values()) == [401, 401, "AccessDenied", "AccessDenied", "AccessDenied", ("open", "open")], str(found)
    )
    workspace = team.clone("stranger")
    wrong = {
        "PREFECT_API_AUTH_STRING": "admin:wrong",
        "MLFLOW_TRACKING_PASSWORD": "wrong",
        "AWS_SECRET_ACCESS_KEY": "wrong",
    }
    asked = subprocess.run(
        [str(BIN / "unlabeled"), "doctor"], cwd=workspace, env={**team.environment(workspace), **wrong},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = "\n".join(line for line in asked.stdout.splitlines() if line.startswith("wrong"))
    for name, said in (("dvc remote", ".*"), ("prefect", "wrong password; mend PREFECT_API_AUTH_STRING"),
                       ("mlflow", "wrong user or password; mend MLFLOW_TRACKING_USERNAME")):  # fmt: skip
        expect(re.search(rf"wrong {name}: .*{said}", lines), f"unlabeled doctor with wrong passwords:\n{lines}")
    team.run(workspace, "unlabeled", "doctor")
    return "Prefect 401, MLflow 401, S3 AccessDenied, and doctor says so; each S3 key opens its own bucket alone"


def second_clone_computes_nothing(team: Team) -> str:
    """`dvc push` from one workspace; then an empty clone with `unlabeled run --all --pull` computes nothing."""
    first = team.clone("first")
    ran = team.run(first, "unlabeled", "run", "--all")
    expect(re.search(r"\b9 ran, 1 fresh\b", ran), ran[-1500:])
    pushed = team.run(first, "dvc", "push", "--run-cache")
    git(first, "add", "-A")
    git(first, "commit", "--quiet", "-m", "results")
    git(first, "push", "--quiet", "origin", "HEAD")
    before, started = team.evaluations(), time.monotonic()
    second = team.clone("second")
    said = team.run(second, "unlabeled", "run", "--all", "--pull")
    seconds = time.monotonic() - started
    expect(not re.search(r"\d+ (ran|failed|skipped)\b", said) and "9 restored" in said, said[-1500:])
    same = (first / "dvc.lock").read_bytes() == (second / "dvc.lock").read_bytes()
    expect(same and not git(second, "status", "--porcelain"), "the second clone's dvc.lock or results differ")
    expect(team.evaluations() == before, "restored stages were logged to MLflow as if they had run")
    clean = team.run(second, "dvc", "status")
    expect("up to date" in clean, clean)
    return f"{pushed.strip().splitlines()[-1]}; empty clone: 0 ran, 9 restored, dvc.lock equal, {seconds:.0f} s"


def run_cache_alone_is_enough(team: Team) -> str:
    """Results that were pushed but never committed: an empty clone takes them from the run cache on the remote."""
    bare = team.clone("uncommitted")
    git(bare, "checkout", "--quiet", "HEAD~1")
    expect(not (bare / "dvc.lock").exists(), "this commit has a dvc.lock")
    said = team.run(bare, "unlabeled", "run", "--all", "--pull")
    expect(re.search(r"\b1 ran, 8 restored\b", said), said[-1500:])
    same = (bare / "dvc.lock").read_bytes() == (team.folder / "first" / "dvc.lock").read_bytes()
    expect(same, "dvc.lock differs")
    return "8 restored; `evaluate`, whose outputs git keeps, ran; dvc.lock equal"


def artifacts_pass_through_the_server(team: Team) -> str:
    """MLflow's clients have no key for its bucket: the server fetches and stores for them."""
    from mlflow import MlflowClient

    runs = team.mlflow_runs()
    parents = [r for r in runs if r.data.tags.get("unlabeled.parent") == "yes"]
    expect(parents, "MLflow has no evaluation")
    parent = parents[0]
    expect(parent.info.artifact_uri.startswith("mlflow-artifacts:/"), parent.info.artifact_uri)
    client = MlflowClient(team.client["MLFLOW_TRACKING_URI"])
    path = Path(client.download_artifacts(parent.info.run_id, "toy.json", str(team.folder)))
    expect(path.read_bytes() == (team.folder / "first" / "results" / "toy.json").read_bytes(), "toy.json differs")
    return f"{parent.info.artifact_uri}: toy.json equal to the workspace's"


def worker_runs_a_deployment(team: Team) -> str:
    """A deployment made in the worker's clone runs there, and its evaluation carries the flow run's id."""
    workspace = team.folder / "servers" / "workspace"
    team.run(workspace, "prefect", "--no-prompt", "deploy", "--name", "nightly")
    deployment = team.prefect("/deployments/filter", {"deployments": {"name": {"any_": ["nightly"]}}})[0]
    started = team.prefect(f"/deployments/{deployment['id']}/create_flow_run", {})
    wait_until(lambda: team.flow_runs()[started["id"]]["state_type"] in TERMINAL, 300, "the worker's flow run")
    state = team.flow_runs()[started["id"]]
    log = team.folder / "servers" / "logs" / "worker.log"
    expect(state["state_type"] == "COMPLETED", f"{state['state_type']}: see {log}\n{log.read_text()[-2000:]}")
    return f"flow run Completed in {state['total_run_time']:.0f} s"


def side_by_side(team: Team, flows: int) -> str:
    """Many flows at once, each in a clone of its own: none is lost, each evaluation is in MLflow exactly once."""
    workspaces = [team.clone(f"clone-{i}") for i in range(flows)]
    for workspace in workspaces:
        git(workspace, "checkout", "--quiet", "HEAD~1" if (workspace / "dvc.lock").exists() else "HEAD")
    before, started = set(team.flow_runs()), time.monotonic()
    with ThreadPoolExecutor(flows) as pool:
        said = list(pool.map(lambda w: attempt(team, w), workspaces))
    seconds = time.monotonic() - started
    new = {i: r for i, r in team.flow_runs().items() if i not in before}
    logged = team.evaluations()
    found = {
        "drivers that ended well": sum("9 ran, 1 fresh" in text for text in said),
        "flow runs Completed": sum(r["state_type"] == "COMPLETED" for r in new.values()),
        "flow runs": len(new),
        "evaluations in MLflow exactly once": sum(logged[i] == 1 for i in new),
        "evaluations left in an outbox": sum(
            1 for w in workspaces for _ in (w / ".unlabeled" / "outbox").glob("[!.]*")
        ),
        "task runs Completed": task_runs(team, list(new)),
        "'database is locked'": locked(team, said),
    }
    team.figures = {**found, "seconds": round(seconds, 1)}  # type: ignore[attr-defined]
    text = f"{', '.join(f'{name}: {value}' for name, value in found.items())}; {seconds:.0f} s"
    well = {**found, "drivers that ended well": flows, "flow runs Completed": flows, "flow runs": flows,
            "evaluations in MLflow exactly once": flows, "evaluations left in an outbox": 0,
            "'database is locked'": 0}  # fmt: skip
    warnings = [line for part in said for line in part.splitlines() if "warning:" in line or "error" in line.lower()]
    expect(found == well, "\n".join([text, *warnings[:10]]))
    return text


def attempt(team: Team, workspace: Path) -> str:
    try:
        return team.run(workspace, "unlabeled", "run", "--all")
    except Wrong as error:
        return str(error)


def task_runs(team: Team, flow_runs: list[str]) -> int:
    states = {"flow_runs": {"id": {"any_": flow_runs}}, "task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    return team.prefect("/task_runs/count", states) if flow_runs else 0


def locked(team: Team, said: list[str]) -> int:
    logs = (team.folder / "servers" / "logs").glob("*.log")
    return sum(len(LOCKED.findall(text)) for text in [*said, *(p.read_text(errors="replace") for p in logs)])


def killed_run_is_marked(team: Team) -> str:
    """The automation of zombies.yaml marks a flow run whose process was killed."""
    workspace = team.clone("killed")
    automation = (native.INFRA / "zombies.yaml").read_text()
    quick = team.folder / "zombies.yaml"
    # As shipped, but for the waiting time, and named otherwise.
    quick.write_text(
        automation.replace("within: 600", f"within: {2 * HEARTBEAT_SECONDS}").replace("name: Flow", "name: Soon, flow")
    )
    for path in (native.INFRA / "zombies.yaml", quick):
        team.run(workspace, "prefect", "--no-prompt", "automation", "create", "--from-file", str(path))
    step = workspace / "tasks" / "cluster" / "toy_halves.py"
    step.write_text(step.read_text().replace("    x = ", "    __import__('time').sleep(600)\n    x = ", 1))
    before = set(team.flow_runs())
    driver = subprocess.Popen(
        [str(BIN / "unlabeled"), "run", "--all"], cwd=workspace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**team.environment(workspace), "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS)},
        start_new_session=True,
    )  # fmt: skip
    try:
        new = wait_until(lambda: [r for i, r in team.flow_runs().items() if i not in before and r["state_type"] == "RUNNING"],
                         120, "the flow run that is to be killed")  # fmt: skip
        heard = {"occurred": {"since": "2000-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"},
                 "event": {"name": ["prefect.flow-run.heartbeat"]},
                 "resource": {"id": [f"prefect.flow-run.{new[0]['id']}"]}}  # fmt: skip
        wait_until(lambda: team.prefect("/events/filter", {"filter": heard})["events"], 60, "its first heartbeat")
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    started = time.monotonic()
    wait_until(
        lambda: team.flow_runs()[new[0]["id"]]["state_type"] == "CRASHED", 240, "the killed run marked as crashed"
    )
    return f"Crashed {time.monotonic() - started:.0f} s after the kill (with {2 * HEARTBEAT_SECONDS} s, not 600 s, of patience)"


# ---- setting the scene -----------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=prove", "-c", "user.email=prove@example.org"]
    return run(["git", *who, *arguments], folder).strip()


def make_project(folder: Path) -> None:
    """A repository with this one's code, the toy steps instead of the methods, and the S3 store as DVC's remote."""
    work, toy = folder / "making", REPOSITORY / "tests" / "toy"
    names = git(
        REPOSITORY,
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        "tasks",
        "flows",
        ".dvc",
        ".dvcignore",
        "dvc.yaml",
        "prefect.yaml",
    ).splitlines()
    for name in names:
        if (REPOSITORY / name).exists():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, work / name)
    shutil.copytree(toy, work / "tasks", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (work / "tasks" / "params.yaml").rename(work / "params.yaml")
    (work / "data").mkdir()
    (work / "data" / "README.md").write_text("Data sets lie here.\n")
    (work / ".gitignore").write_text("/artifacts/\n/.unlabeled/\n__pycache__/\n")
    git(work, "init", "--quiet")
    run([str(BIN / "dvc"), "remote", "add", "--quiet", "--default", "team", "s3://dvc"], work)
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "toy")
    git(folder, "clone", "--quiet", "--bare", str(work), str(folder / "project"))


def free_ports(count: int) -> list[int]:
    """Ports p for which p to p+3, and those plus 10000, are free (SeaweedFS takes them all)."""
    found: list[int] = []
    start = 20000 + (os.getpid() * 7919) % 20000
    for port in range(start, 55000, 5):
        if all(is_free(port + plus) for plus in (0, 1, 2, 3, 10000, 10001, 10002, 10003)):
            found.append(port)
        if len(found) == count:
            return found
    raise Wrong("no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def real_servers(folder: Path) -> Iterator[Team]:
    """The servers of native.py, with a new cluster, new secrets, free ports."""
    path = folder / "settings"
    native.write_settings(path)
    ports = dict(zip(("POSTGRES", "PREFECT", "MLFLOW", "S3"), free_ports(4), strict=True))
    with open(path, "a") as stream:
        stream.writelines(f"{name}_PORT={port}\n" for name, port in ports.items())
    text = re.sub(r"(?m)^UNLABELED_REPOSITORY=.*$", f"UNLABELED_REPOSITORY={folder / 'project'}", path.read_text())
    path.write_text(text)
    settings = native.read_settings(path)
    try:
        native.up(settings, folder / "servers")
        yield Team(folder, native.client_environment(settings), settings)
    finally:
        native.down(folder / "servers")


@contextmanager
def sqlite_servers(folder: Path) -> Iterator[Team]:
    """Prefect and MLflow as servers with their default stores, two SQLite files; no passwords."""
    servers = folder / "servers"
    (servers / "logs").mkdir(parents=True)
    prefect, mlflow = free_ports(2)
    everyday = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    started = []
    for service in (
        native.Service(
            "prefect",
            ["prefect", "server", "start", "--port", str(prefect)],
            everyday,
            lambda: native.url_answers(f"http://127.0.0.1:{prefect}/api/health"),
        ),
        native.Service(
            "mlflow",
            ["mlflow", "server", "--port", str(mlflow), "--workers=2", "--backend-store-uri", f"sqlite:///{servers}/mlflow.db",
             "--serve-artifacts", "--artifacts-destination", str(servers / "artifacts")],
            everyday,
            lambda: native.url_answers(f"http://127.0.0.1:{mlflow}/health"),
        ),
    ):  # fmt: skip
        process = native.start(service, servers)
        started.append((service.name, process))
        native.remember(servers, dict(started))
        native.wait_for(service, process, servers)
    try:
        yield Team(folder, {"PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
                            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}"})  # fmt: skip
    finally:
        native.down(servers)


def main() -> int:
    """Command line; returns 1 if a check failed, 2 if the servers could not be started."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flows", type=int, default=10, help="flows side by side (default: 10)")
    parser.add_argument("--sqlite", action="store_true", help="the flows alone, on SQLite stores, for comparison")
    parser.add_argument("--only", nargs="+", choices=CHECKS, help="some checks only")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--keep", action="store_true", help="leave the folder with logs and data")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    folder = Path(tempfile.mkdtemp(prefix="unlabeled-team-"))
    folder.chmod(0o755)  # as root, PostgreSQL runs as another user
    failed, figures = 0, {}
    checks: dict[str, Callable[[Team], str]] = {
        "strangers": strangers_are_refused,
        "flows": lambda team: side_by_side(team, given.flows),
        "cache": second_clone_computes_nothing,
        "run cache": run_cache_alone_is_enough,
        "artifacts": artifacts_pass_through_the_server,
        "worker": worker_runs_a_deployment,
        "killed": killed_run_is_marked,
    }
    if given.sqlite:
        checks = {"flows": checks["flows"]}
    elif given.only:
        checks = {
            name: check
            for name, check in checks.items()
            if name in given.only or (name in FOLLOW and "cache" in given.only)
        }
    try:
        make_project(folder)
        started = time.monotonic()
        with (sqlite_servers if given.sqlite else real_servers)(folder) as team:
            figures["start"] = f"{time.monotonic() - started:.0f} s"
            print(f"started in {figures['start']}; {folder}", flush=True)
            for name, check in checks.items():
                try:
                    figures[name] = check(team)
                    print(f"ok     {name}: {figures[name]}", flush=True)
                except Wrong as error:
                    failed += 1
                    figures[name] = f"wrong: {error}"
                    print(f"wrong  {name}: {error}", flush=True)
    except (native.SetupError, Wrong) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if given.json:
        given.json.write_text(json.dumps({"failed": failed, **figures}, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
