from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from deploy.cli.main import main


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]):
    shown = CliRunner().invoke(main, [*path, "--help"])
    assert shown.exit_code == 0
    _, example = shown.output.split("Example:\n")
    assert f"signal-broker {' '.join(path)}" in example
    assert max(map(len, shown.output.splitlines())) <= 80
