"""Whatever a signal, a subscription or an error holds, a command prints nothing that steers the terminal."""

from __future__ import annotations

import json
import re

import click
import pytest
from click.testing import CliRunner

from broker.errors import SignalBrokerError
from deploy.cli.main import Commands
from deploy.cli.output import show_json, show_line, show_many, show_one, show_table

NASTY = "a\x1b[2J\x9b31m\x85\u202e\u2028\u2066\u200f\x07b"
SHOWN = r"a\u001b[2J\u009b31m\u0085\u202e\u2028\u2066\u200f\u0007b"
DOCUMENT = {"name": NASTY, "list": [NASTY], "nested": {"k": NASTY}, "none": None}


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
def test_documents_and_tables_are_escaped(monkeypatch, as_json, terminal, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    show_one(DOCUMENT, *DOCUMENT, as_json=as_json)
    show_many([DOCUMENT], *DOCUMENT, as_json=as_json)
    show_table(["a"], [[NASTY]])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)  # bold titles, for example
    assert all(line.isprintable() for line in shown.splitlines())


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_break_in_a_table_is_a_space(monkeypatch, terminal, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    show_many([{"id": 7, "lastError": "no stock\nof it"}], "id", "lastError", as_json=False)
    assert "no stock of it" in capsys.readouterr().out


def test_json_means_the_same_when_it_is_escaped(capsys):
    show_json(DOCUMENT)
    assert json.loads(capsys.readouterr().out) == DOCUMENT


def test_a_line_is_one_line(capsys):
    show_line('{"a":\r\n\t"b\x9b"}')
    assert capsys.readouterr().out == '{"a":   "b\\u009b"}\n'


@pytest.mark.parametrize("error", [click.ClickException(NASTY), SignalBrokerError(NASTY), OSError(NASTY)])
def test_an_error_is_escaped(error):
    def fail():
        raise error

    commands = Commands(name="signal-broker")
    commands.get_command = lambda *_: click.Command("fail", callback=fail)
    result = CliRunner().invoke(commands, ["fail"])
    assert (result.exit_code, result.output.strip()) == (1, f"Error: {SHOWN}")
