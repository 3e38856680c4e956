"""Offloading: what takes long to compute is computed in a thread, so that the event loop serves others meanwhile."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

R = TypeVar("R")

LARGE = 16 << 10
"""Bytes of JSON that take some milliseconds if they are many small values."""

_HEAVY = 256 << 10
"""Bytes of JSON whose values take tens of megabytes if they are many and small."""


class Offloader:
    """Computes what is made of large texts in threads, one after the other.

    Two at a time would be no faster: threads take turns, and the event loop would have fewer of them.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, function: Callable[[], R], *, size: int) -> R:
        """Return the result of *function*, computed here and now if it is computed from few bytes (*size*)."""
        if size <= LARGE:
            return function()
        async with self._turn:
            try:
                return await asyncio.to_thread(_run_uncollected, function)
            finally:
                if size > _HEAVY:
                    await asyncio.to_thread(_release)


def _run_uncollected(function: Callable[[], R]) -> R:
    """Return the result of *function*, which makes no cycles.

    The collector would search the hundreds of thousands of new values for them many times, and hold up all threads.
    """
    gc.disable()
    try:
        return function()
    finally:
        gc.enable()


def _release() -> None:
    """Return freed memory to the system.

    glibc keeps what lies between values that are in use, in each thread, and takes more for the next large text.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    """Return the function of glibc; None where another library allocates memory."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
