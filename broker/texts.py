"""Texts from outside, made safe for a terminal and for the lines of a log."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return *text* in one line, with a space for each character that could move the cursor of a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
