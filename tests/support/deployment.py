"""What the tests of the image, of docker-compose.yml and of the Kubernetes manifests have in common."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from broker.settings import PREFIX, Settings, read_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
IMAGE = f"signal-broker:{tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['version']}"
PROCESSES = [["gateway"], ["worker", "recorder"], ["worker", "deliverer"], ["worker", "scheduler"]]
SETUP = [["migrate"], ["topology", "--apply"]]


def settings_in(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Read *environment* as a process would; every name in it must be a setting."""
    for name in environment:
        assert name.removeprefix(PREFIX).lower() in Settings.model_fields, name
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return read_settings()


def assert_ready_for_use(settings: Settings) -> None:
    assert settings.transport_url.startswith("amqp://")
    assert settings.store_url.startswith("postgresql://")
    assert settings.admin_token is not None
    assert [Fernet(key.get_secret_value()) for key in settings.secret_keys]


def stages() -> list[list[tuple[str, str]]]:
    """Return the Dockerfile's stages, each a list of (instruction, what follows it)."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    instructions = [(word, rest) for word, rest in lines]
    starts = [index for index, (word, _) in enumerate(instructions) if word == "FROM"]
    return [instructions[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def runtime(word: str) -> str:
    """Return what follows the only *word* of the runtime stage."""
    (rest,) = [rest for instruction, rest in stages()[-1] if instruction == word]
    return rest
