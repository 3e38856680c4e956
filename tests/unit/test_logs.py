import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from broker.logs import render_line


@dataclass
class Part:
    name: str


MOMENT = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        ("Zo\xeb", "Zo\xeb"),
        ("half of a pair: \ud800", "half of a pair: \ud800"),
        (2**80, 2**80),
        (None, None),
        ([1, (2.5, True)], [1, [2.5, True]]),
        ({1: "a"}, {"1": "a"}),
        (Part("q"), repr(Part("q"))),
        (MOMENT, repr(MOMENT)),
        (ValueError("x"), "ValueError('x')"),
    ],
)
def test_whatever_an_event_has_its_line_is_json(value, rendered):
    assert json.loads(render_line({"event": "a.b", "value": value}, default=repr)) == {
        "event": "a.b",
        "value": rendered,
    }


PROGRAM = """
import logging, structlog
from broker.logs import configure_logs
from broker.settings import Settings
configure_logs(Settings(log_format="console"))
structlog.get_logger().warning("a.b", name="x\\x9b31m\\u202e\\x1b[2J", many=["\\u2028", {"\\x85": "\\u2066"}])
logging.warning("from a library: \\x9b\\u2069")
token = "hunter2"
try:
    raise ValueError("bad\\x1b]0;title\\x07 \\u200f")
except ValueError:
    structlog.get_logger().exception("a.failed")
"""


def test_nothing_that_is_logged_steers_a_terminal_and_tracebacks_show_no_values():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert all(line.replace("\t", " ").isprintable() for line in lines), lines
    assert r"name=x\u009b31m\u202e\u001b[2J" in done.stderr
    assert r"from a library: \u009b\u2069" in done.stderr
    assert r"ValueError: bad\u001b]0;title\u0007 \u200f" in done.stderr
    assert "hunter2" not in done.stderr.replace('token = "hunter2"', "")
