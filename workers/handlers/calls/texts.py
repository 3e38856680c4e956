"""Texts from outside, made safe for a terminal and for the lines of a log."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Return the first line of *text*, at most 1,000 characters, with a space for each that could move a cursor."""
    line = next(iter(text.strip().splitlines()), "")
    return "".join(character if character.isprintable() else " " for character in line)[:1000]
