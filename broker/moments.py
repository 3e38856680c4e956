"""Moments as text: any form of RFC 3339 is read; one is written, in UTC with milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_MILLISECOND = timedelta(milliseconds=1)
_RFC_3339 = re.compile(
    r"(\d{4})(-\d\d-\d\dT\d\d:\d\d:)(60|\d\d)(\.\d{1,6})?\d*(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_YEARS = 400
"""After so many years the calendar repeats."""
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(microsecond=999_000, tzinfo=UTC)


def read_moment(text: str) -> datetime:
    """Return the moment that *text* stands for (RFC 3339, date-time), in UTC.

    A leap second is the beginning of the next minute. A moment before the year 1 is its beginning, and one after the
    year 9999 its last millisecond.

    Raises:
        ValueError: It stands for none, or has no offset.
    """
    parts = _RFC_3339.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is not a date and time with its offset")
    year, middle, second, fraction, offset = parts.groups(default="")
    is_leap, is_before = second == "60", year == "0000"
    year, second = f"{_YEARS:04}" if is_before else year, "59" if is_leap else second + fraction
    try:
        moment = datetime.fromisoformat(f"{year}{middle}{second}{offset}".upper())
        moment = (moment + timedelta(seconds=is_leap)).astimezone(UTC)
    except OverflowError:
        is_before, moment = year == "0001", _LAST
    return _FIRST if is_before else min(moment, _LAST)


def show_moment(moment: datetime) -> str:
    """Return *moment* as text, such as ``2026-11-22T10:00:00.123Z``; smaller parts are cut off."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def next_millisecond(moment: datetime) -> datetime:
    """Return *moment*, or the next full millisecond: what is shown of it is all there is."""
    return moment + -timedelta(microseconds=moment.microsecond) % _MILLISECOND
