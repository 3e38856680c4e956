"""What fails again and again leaves few lines in the log."""

import subprocess
import sys

import pytest
import structlog

from broker.repeated_lines import RepeatedLines


class Log:
    """The lines that are left, with the moment of each."""

    def __init__(self):
        self.now = 0.0
        self.lines = []
        self._thin = RepeatedLines(clock=lambda: self.now)

    def fail(self, event="sweep.postponed", **members):
        try:
            line = self._thin(None, "warning", {"event": event, **members})
        except structlog.DropEvent:
            return
        self.lines.append((self.now, line.get("unlogged")))


def test_an_outage_of_an_hour_leaves_three_lines_and_one_a_minute():
    log = Log()
    for _ in range(7200):
        log.fail(step="release", error="no answer")
        log.now += 0.5
    assert log.lines[:4] == [(0.0, None), (0.5, None), (1.0, None), (61.0, 119)]
    assert len(log.lines) == 3 + 59
    assert sum(unlogged or 0 for _, unlogged in log.lines) + len(log.lines) > 7080, "each is counted"


def test_what_fails_after_a_quiet_time_is_news():
    log = Log()
    for _ in range(5):
        log.fail()
    log.now = 15.5
    log.fail()
    assert log.lines == [(0.0, None)] * 3 + [(15.5, 2)]


def test_each_thing_that_is_tried_has_lines_of_its_own():
    log = Log()
    for _ in range(9):
        for channel in ("access_changed", "samples"):
            log.fail("listener.lost", channel=channel)
        log.fail("row.refused", step="release")
    assert len(log.lines) == 9


@pytest.mark.parametrize(
    ("event", "about", "of_each"),
    [
        ("tap.rejected", "exchange", "signal_id"),
        ("body.ignored", "endpoint", "signal_id"),
        ("handler.failed", "function", "delivery_id"),
        ("handler.failed", "raised", "delivery_id"),
        ("message.rejected", "queue", "error"),
        ("message.failed", "queue", "failures"),
        ("messages.returned", "queue", "messages"),
        ("request.failed", "route", "path"),
        ("request.failed", "fault", "address"),
        ("user.locked", "address", "seconds"),
        ("webhook.resent", "host", "reason"),
    ],
)
def test_what_one_fault_repeats_for_each_leaves_few_lines(event, about, of_each):
    log = Log()
    for number in range(500):
        for one in ("signals", "orders"):
            log.fail(event, **{of_each: number, about: one})
        log.now += 0.1
    assert len(log.lines) == 2 * 3


@pytest.mark.parametrize(
    "members",
    [
        {"event": "request.refused"},
        {"event": "message.isolated", "queue": "signals.record"},
        {"event": "signals.lost", "ids": [7]},
        {"event": "delivery.attempted"},
        {"event": "recording.failed", "signal_id": 7},
        {"event": "signal.accepted"},
    ],
)
def test_what_is_about_one_signal_delivery_or_request_is_never_left_out(members):
    log = Log()
    for _ in range(9):
        log.fail(**members)
    assert len(log.lines) == 9


def test_any_number_of_kinds_of_failures_is_told_apart():
    log = Log()
    for host in range(5000):
        log.fail("link.refused", host=str(host))
    assert len(log.lines) == 5000


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_log_of_a_process_is_thinned_out(form):
    program = f"""
import structlog
from broker.logs import configure_logs
from broker.settings import Settings
configure_logs(Settings(log_format="{form}"))
log = structlog.get_logger().bind(queue="signals.record")
for _ in range(50):
    log.warning("batch.postponed", error="no answer")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.count("batch.postponed") == 3
