"""Steps: filters are evaluated in steps of a few milliseconds, and an evaluation can be stopped between two."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

R = TypeVar("R")

Search = Callable[[], bool]
"""A search that may take long, and does not hold Python's lock meanwhile: it can be made in a thread."""

Steps = Generator[Search | None, bool | None, R]
"""Yields after each step (None), or instead of a long search, whose result it is to be sent; returns the result."""


def finish(steps: Steps[R]) -> R:
    """Return the result of all *steps*, made here and now."""
    found: bool | None = None
    while True:
        try:
            search = steps.send(found)
        except StopIteration as end:
            result: R = end.value
            return result
        found = None if search is None else search()
