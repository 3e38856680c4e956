"""Slices: long computations are made a few milliseconds at a time, so that the event loop serves others in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from types import TracebackType
from typing import Self

SECONDS = 0.005
"""How long a slice is."""


class Slices:
    """Lets the tasks of one event loop compute by turns, a slice each.

    Args:
        rest: The idle time after each slice, as a multiple of the slice's own duration.
    """

    def __init__(self, *, rest: float = 0.0) -> None:
        self._lock = asyncio.Lock()
        self._rest = rest

    def take(self) -> Slice:
        """Return an async context manager: inside it, a task may compute until its slice is over."""
        return Slice(self._lock, self._rest)


class Slice:
    """The turn of one task, slice after slice."""

    def __init__(self, lock: asyncio.Lock, rest: float) -> None:
        self._lock = lock
        self._rest = rest
        self._held = False
        self._began = 0.0

    async def __aenter__(self) -> Self:
        await self._lock.acquire()
        self._held, self._began = True, perf_counter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:
            self._held = False
            self._lock.release()

    @property
    def is_over(self) -> bool:
        """Whether it is time to pause."""
        return perf_counter() - self._began > SECONDS

    async def pause(self) -> None:
        """Let others go on if the slice is over, and return when the next one begins."""
        if self.is_over:
            await asyncio.sleep(self._rest * (perf_counter() - self._began))
            async with self.suspended():
                pass

    @asynccontextmanager
    async def suspended(self) -> AsyncIterator[None]:
        """Let others compute while the block waits for something; leaving it waits for the next slice."""
        await self.__aexit__(None, None, None)
        try:
            yield
        finally:
            await self.__aenter__()
