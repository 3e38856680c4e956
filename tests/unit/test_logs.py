import asyncio
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from broker.logs import Clock, LineBuffer, render_line


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


@pytest.mark.slow
def test_nothing_that_is_logged_steers_a_terminal_and_tracebacks_show_no_values():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert all(line.replace("\t", " ").isprintable() for line in lines), lines
    assert r"name=x\u009b31m\u202e\u001b[2J" in done.stderr
    assert r"from a library: \u009b\u2069" in done.stderr
    assert r"ValueError: bad\u001b]0;title\u0007 \u200f" in done.stderr
    assert "hunter2" not in done.stderr.replace('token = "hunter2"', "")


SIGNALS = """
import structlog
from broker.logs import configure_logs
from broker.settings import Settings
configure_logs(Settings(log_format="json", log_signals="{mode}"))
log = structlog.get_logger()
for signal_id in (1, 99, 100, 101, 200):
    log.info("signal.accepted", signal_id=signal_id)
    log.info("signal.recorded", signal_id=signal_id)
    log.info("delivery.attempted", signal_id=signal_id, attempt=1)
    log.warning("delivery.attempted", signal_id=signal_id, attempt=2)
log.info("process.started")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "whole"), [("all", {1, 99, 100, 101, 200}), ("sampled", {100, 200}), ("failures", set())]
)
def test_signals_to_which_nothing_happens_leave_the_lines_that_are_wanted(mode, whole):
    program = SIGNALS.replace("{mode}", mode)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines.pop()["event"] == "process.started"
    logged = {}
    for line in lines:
        logged.setdefault(line["signal_id"], []).append((line["event"], line.get("attempt")))
    failed = ("delivery.attempted", 2)
    everything = [("signal.accepted", None), ("signal.recorded", None), ("delivery.attempted", 1), failed]
    assert logged == {one: everything if one in whole else [failed] for one in (1, 99, 100, 101, 200)}


def test_each_line_has_its_own_moment_cut_off_to_milliseconds(monkeypatch):
    moments = iter([999, 1_000_000, 1_999_999, 1_764_504_000_123_456_789, 1_764_504_000_123_999_999, 1_000_000])
    monkeypatch.setattr("time.time_ns", lambda: next(moments))
    clock = Clock()
    assert [clock(None, "info", {})["timestamp"] for _ in range(6)] == [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.001Z",
        "1970-01-01T00:00:00.001Z",
        "2025-11-30T12:00:00.123Z",
        "2025-11-30T12:00:00.123Z",
        "1970-01-01T00:00:00.001Z",
    ]


class Pipe(io.BytesIO):
    """Remembers what each write was given."""

    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, data):
        self.writes.append(bytes(data))
        return len(data)


def log_to(file, *lines):
    for line in lines:
        file.write(line)
        file.flush()


async def test_what_is_logged_in_one_turn_of_the_loop_is_written_at_once_and_in_order():
    pipe = Pipe()
    file = LineBuffer(pipe)
    log_to(file, b"1\n", b"2\n", b"3\n")
    assert pipe.writes == []
    await asyncio.sleep(0)
    assert pipe.writes == [b"1\n2\n3\n"]
    log_to(file, b"4\n")
    await asyncio.sleep(0)
    assert pipe.writes[1:] == [b"4\n"]


async def test_whole_lines_are_written_as_far_as_a_pipe_takes_them_at_once():
    pipe = Pipe()
    lines = [b"x" * size + b"\n" for size in (3000, 1000, 200, 9000, 5)]
    log_to(LineBuffer(pipe), *lines)
    await asyncio.sleep(0)
    assert pipe.writes == [lines[0] + lines[1], lines[2], lines[3], lines[4]]


async def test_a_thread_writes_at_once_and_nothing_overtakes_what_was_logged_before():
    pipe = Pipe()
    file = LineBuffer(pipe)
    log_to(file, b"loop\n")
    await asyncio.to_thread(log_to, file, b"thread\n")
    await asyncio.sleep(0)
    assert b"".join(pipe.writes) == b"loop\nthread\n"


def test_lines_are_written_where_no_loop_runs_and_after_one_that_was_stopped():
    pipe = Pipe()
    file = LineBuffer(pipe)

    async def log_and_stop():
        log_to(file, b"stopped\n")

    loop = asyncio.new_event_loop()
    loop.call_soon(loop.stop)
    task = loop.create_task(log_and_stop())
    loop.run_forever()
    task.cancel()
    loop.close()
    log_to(file, b"after\n")
    assert pipe.writes == [b"stopped\nafter\n"]


@pytest.mark.slow
def test_the_last_lines_of_a_process_are_written():
    program = PROGRAM.partition("configure_logs(")[0] + (
        "import asyncio\n"
        'configure_logs(Settings(log_format="json"))\n'
        "async def log():\n"
        '    structlog.get_logger().warning("first")\n'
        '    structlog.get_logger().warning("last")\n'
        "asyncio.run(log())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["first", "last"]
