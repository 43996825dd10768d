"""The compose file and the images, as far as that can be judged without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

REPOSITORY = Path(__file__).resolve().parents[2]
INFRA = REPOSITORY / "infra"
TEXT = (INFRA / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::([?-])([^}]*))?\}")
DOCKERFILE = (INFRA / "Dockerfile").read_text()


def documented() -> dict[str, bool]:
    """Names in .env.example, and whether each must be given."""
    optional = re.findall(r"(?m)^#([A-Z0-9_]+)=", (INFRA / ".env.example").read_text())
    return {**dict.fromkeys(dotenv_values(INFRA / ".env.example"), True), **dict.fromkeys(optional, False)}


def test_every_variable_is_documented_and_no_secret_has_a_default() -> None:
    names, operators = documented(), {"-": False, "?": True}
    used = VARIABLE.findall(TEXT)
    assert {name for name, _, _ in used} == names.keys() - {"POSTGRES_PORT"}  # not published from a container
    for name, operator, word in used:
        assert operator, f"${{{name}}} would be empty where it is not set"
        assert operators[operator] == names[name], name
        assert word
        if re.search("PASSWORD|SECRET", name):
            assert operator == "?"


def test_secrets_are_in_the_environment_only() -> None:
    for name, service in SERVICES.items():
        for key, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|AUTH_STRING", key):
                assert VARIABLE.search(str(value)), f"{name}: {key} is written out"
        rest = {key: value for key, value in service.items() if key != "environment"}
        assert not re.search(r"\$\{[A-Z0-9_]*(PASSWORD|SECRET)", str(rest)), name


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_restarts_drops_its_rights_and_says_when_it_is_ready(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert name == "worker" or service["healthcheck"]["test"][0] == "CMD"
    for other, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]
    for port in service.get("ports", []):
        assert port.startswith("${BIND:-127.0.0.1}:"), f"{port} is open to the network"


def test_the_order_of_start_has_what_each_server_talks_to() -> None:
    for name, service in SERVICES.items():
        words = re.findall(r"[a-z0-9]+", " ".join(map(str, service["environment"].values())))
        hosts = {other for other in SERVICES if other in words and other != name}
        if name == "prefect":
            hosts -= {"mlflow"}
        assert hosts - {"mlflow"} <= service.get("depends_on", {}).keys(), name
    assert SERVICES["worker"]["depends_on"].keys() == {"prefect", "mlflow", "s3"}


def test_every_volume_is_named_and_used() -> None:
    mounted = {volume.split(":")[0] for s in SERVICES.values() for volume in s.get("volumes", [])}
    assert {name for name in mounted if not name.startswith(".")} == COMPOSE["volumes"].keys()
    for name in mounted - COMPOSE["volumes"].keys():
        assert (INFRA / name).is_file(), name


def test_images_are_pinned_and_users_are_not_root() -> None:
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", SERVICES["postgres"]["image"])
    assert SERVICES["postgres"]["user"] == "postgres"
    base = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)[0]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)
    stages = {m[1]: m[2] for m in re.finditer(r"(?ms)^FROM \S+ AS (\w+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE)}
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["build"]["dockerfile"] == "infra/Dockerfile"
            assert "\nUSER 1000\n" in stages[service["build"]["target"]], name


def test_what_the_images_copy_is_there_and_not_ignored() -> None:
    allowed = [
        line[1:] for line in (INFRA / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    for sources in re.findall(r"(?m)^COPY (.+) \S+$", DOCKERFILE):
        for source in sources.split():
            assert (REPOSITORY / source).exists(), source
            assert any(Path(source).match(pattern) for pattern in allowed), f"{source} is ignored"


def test_what_the_image_of_the_servers_installs_is_locked() -> None:
    locked = {line.split("==")[0].lower() for line in (REPOSITORY / "requirements.lock").read_text().splitlines()}
    installed = re.search(r"--constraint requirements.lock (.+)", DOCKERFILE)
    assert installed
    assert {name.lower() for name in installed[1].split()} <= locked
    assert all("==" in line for line in (INFRA / "servers.txt").read_text().splitlines() if not line.startswith("#"))


def test_settings_file_is_not_for_git() -> None:
    assert ".env" in (INFRA / ".gitignore").read_text().split()
