"""Texts from outside, made safe for a terminal and for the lines of a log."""

from __future__ import annotations

import re

STEERING = re.compile("[\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Invisible characters, and those that steer a terminal or reverse text: C1 and bidi controls, line separators."""


def printable(text: str) -> str:
    """Return *text* in one line, with a space for each character that could move the cursor of a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def escape(text: str, *, keep: str = "") -> str:
    r"""Return *text* as it may be shown: ``\u009b`` stands for each character that is not printable.

    Those in *keep* stay. In JSON, whose line breaks and tabs are kept or gone, the escapes mean the same characters.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else _escape(one) for one in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
