"""docs/commands.md, then docs/events.md: every command in them works, in its order, beside a product that is new."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from tempfile import mkdtemp

import pytest

from deploy.cli.main import COMMANDS
from tests.support.eventually import eventually
from tests.support.instances import Place, Run

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "commands.md").read_text()
TASKS = re.findall(r"^```sh task\n(.*?)^```", TEXT + (DOCS / "events.md").read_text(), re.MULTILINE | re.DOTALL)


def call(place: Place, line: str) -> subprocess.CompletedProcess[str]:
    first, pipe, command = line.rpartition(" | ")
    given = subprocess.run(["sh", "-c", first], capture_output=True, text=True, check=True).stdout if pipe else ""
    program, *arguments = shlex.split(command.replace("https://billing.example.com", "http://127.0.0.1:9"))
    assert program == "signal-broker"
    return place.call(*arguments, given=given)


async def test_every_command_works(servers: Path):
    """What is thrown is recorded, and an attempt fails, in a moment: until then a command may be too early."""
    lines = [line for task in TASKS for line in task.splitlines()]
    assert len(lines) > 30
    place = Place(Path(mkdtemp(dir=servers)))
    last: list[object] = []

    def works(line: str) -> bool:
        last[:] = [done := call(place, line)]
        return done.returncode == 0 and not done.stderr

    with Run(place):
        for line in lines:
            try:
                await eventually(lambda line=line: works(line))
            except AssertionError:
                raise AssertionError(last) from None


def test_every_command_that_calls_a_product_or_is_for_the_terminal_is_in_it():
    for section in ("Working", "Your terminal"):
        for name in COMMANDS[section]:
            assert f"signal-broker {name}" in TEXT or f"`{name}`" in TEXT, name
