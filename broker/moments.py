"""Moments as text: one form wherever the product writes one, RFC 3339 in UTC with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_MILLISECOND = timedelta(milliseconds=1)


def show_moment(moment: datetime) -> str:
    """Return *moment* as text, such as ``2026-11-22T10:00:00.123Z``; smaller parts are cut off."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def next_millisecond(moment: datetime) -> datetime:
    """Return *moment*, or the next full millisecond: what is shown of it is all there is."""
    return moment + -timedelta(microseconds=moment.microsecond) % _MILLISECOND
