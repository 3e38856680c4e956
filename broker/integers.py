"""Whole numbers in texts from outside."""

from __future__ import annotations

MAX_ID = (1 << 63) - 1
"""PostgreSQL's largest bigint."""
_MAX_DIGITS = 19


def read_whole(text: str, *, least: int = 0, most: int = MAX_ID) -> int | None:
    """Return the number from *least* to *most* that *text* represents in ASCII digits, or None if it does not."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        return None
    value = int(text)
    return value if least <= value <= most else None
