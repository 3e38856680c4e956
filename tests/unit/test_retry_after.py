"""The Retry-After header, which is whatever a receiver likes to send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.retries import parse_retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("0007", 7),
        ("000000000000060", 60),
        ("0" * 5000, 0),
        ("86400", 86400),
        ("86401", 86400),
        ("9" * 5000, 86400),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30),
        ("Sun Mar  1 12:00:30 2026", 30),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Fri, 01 Mar 2030 12:00:00 GMT", 86400),
    ],
)
def test_seconds_and_dates_are_read_within_a_day(text, seconds):
    assert parse_retry_after(text, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-5",
        "1.5",
        "1e3",
        "١٢",
        "5, 10",
        "Mon, 99 Foo 2026 00:00:00 GMT",
        "Sun, 01 Mar 99999999999999 12:00:00 GMT",
        "Sun, 01 Mar 2026 12:00:00 +99999999999",
        "+2401 Nov 99999999999999 99:99 EST -9999999 99:99",
    ],
)
def test_garbage_is_nothing(text):
    assert parse_retry_after(text, NOW) is None
