"""Moments as text: read in any form of RFC 3339, and written in one form wherever the product writes one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_MILLISECOND = timedelta(milliseconds=1)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]((?:[01][0-9]|2[0-3]):[0-5][0-9]):([0-5][0-9]|60)(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))"
)


def read_moment(text: str) -> datetime:
    """Return the moment *text*, a date and time with its offset in any form of RFC 3339, in UTC.

    Parts below a microsecond are rounded up. A leap second, which only the last minute of a month in UTC can have, is
    the second after it. What UTC puts outside the years 1 to 9999 is the first or the last moment within them.

    Raises:
        ValueError: It is no such text.
    """
    found = _RFC_3339.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no date and time of RFC 3339")
    date, minute, second, fraction, offset = found.groups()
    local = datetime.fromisoformat(f"{date}T{minute}{offset or '+00:00'}")
    fraction = fraction or ""
    after = timedelta(seconds=int(second), microseconds=int(fraction[:6].ljust(6, "0")) + bool(fraction[6:].strip("0")))
    try:
        begun = local.astimezone(UTC)
        if second == "60" and not _ends_month(begun):
            raise ValueError(f"{text!r} is in a minute without a leap second")
        return begun + after
    except OverflowError:
        return _FIRST if local.year == 1 else _LAST


def show_moment(moment: datetime) -> str:
    """Return *moment* as text, such as ``2026-11-22T10:00:00.123Z``; smaller parts are cut off."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def next_millisecond(moment: datetime) -> datetime:
    """Return *moment*, or the next full millisecond, if there is one: what is shown of it is all there is."""
    if moment > _LAST - _MILLISECOND:
        return _LAST.replace(microsecond=999_000)
    return moment + -timedelta(microseconds=moment.microsecond) % _MILLISECOND


def _ends_month(minute: datetime) -> bool:
    """Return whether *minute*, in UTC, is the last one of a month."""
    return (minute.hour, minute.minute) == (23, 59) and (minute + timedelta(minutes=1)).day == 1
