"""Dates as Java's lenient ``SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss.SSSZ")`` reads and writes them, in UTC."""

from __future__ import annotations

import re

# fmt: off
_ZONES = {
    "UTC": 0, "WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "JST": 9,
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
}
# fmt: on
"""Hours east of Greenwich. Java knows some hundred names; these are the unambiguous and common ones."""

_FIELD = r"[ \t]*+(-?\d{1,9})"
_DATE = re.compile(
    rf"{_FIELD}-{_FIELD}-{_FIELD}T{_FIELD}:{_FIELD}:{_FIELD}\.{_FIELD}[ \t]*+"
    r"(?:(?P<rfc822>[+-](?:[01][0-9]|2[0-3])[0-5][0-9])"
    r"|(?i:GMT)(?P<gmt>[+-](?:[01]?[0-9]|2[0-3]):[0-5][0-9]|(?![+-]))"
    rf"|(?P<zone>(?i:{'|'.join(_ZONES)})))"
)

_GREGORIAN_SINCE = 2299161
"""Julian day number of 1582-10-15; Java counts the days before it in the Julian calendar."""


def normalize(text: str) -> str:
    """Return the date that *text* begins with, in UTC and in the same pattern.

    Fields that overflow roll over (month 13, 24:00, 61 seconds), and what follows the zone is ignored, as in Java.
    The zone is four digits (``+0200``), ``GMT+2:00`` or a common name; neither ``Z`` nor ``+02:00``.

    Raises:
        ValueError: *text* does not begin with such a date.
    """
    match = _DATE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a date")
    year, month, day, hour, minute, second, millisecond = map(int, match.groups()[:7])
    minutes = (_day_number(year, month, day) * 24 + hour) * 60 + minute - _offset(match)
    seconds, millisecond = divmod((minutes * 60 + second) * 1000 + millisecond, 1000)
    days, seconds = divmod(seconds, 86400)
    year, month, day = _civil(days)
    era_year = year if year > 0 else 1 - year
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{millisecond:03d}"
    return f"{era_year:04d}-{month:02d}-{day:02d}T{clock}+0000"


def _offset(match: re.Match[str]) -> int:
    """Minutes east of Greenwich."""
    if match["zone"]:
        return _ZONES[match["zone"].upper()] * 60
    digits = (match["rfc822"] or match["gmt"]).replace(":", "")
    if not digits:
        return 0
    minutes = int(digits[1:-2]) * 60 + int(digits[-2:])
    return -minutes if digits[0] == "-" else minutes


def _day_number(year: int, month: int, day: int) -> int:
    """Julian day number of a date whose month and day may lie anywhere."""
    year, month = year + (month - 1) // 12, (month - 1) % 12
    since_march = (month - 2) % 12
    years = year + 4800 - (month < 2)
    days = day + (153 * since_march + 2) // 5 + 365 * years + years // 4
    gregorian = days - years // 100 + years // 400 - 32045
    return gregorian if gregorian >= _GREGORIAN_SINCE else days - 32083


def _civil(day_number: int) -> tuple[int, int, int]:
    """Year, month and day of a Julian day number (Richards' algorithm)."""
    shifted = day_number + 1401
    if day_number >= _GREGORIAN_SINCE:
        shifted += (4 * day_number + 274277) // 146097 * 3 // 4 - 38
    quarter_days = 4 * shifted + 3
    fifths = 5 * (quarter_days % 1461 // 4) + 2
    month = (fifths // 153 + 2) % 12 + 1
    return quarter_days // 1461 - 4716 + (14 - month) // 12, month, fifths % 153 // 5 + 1
