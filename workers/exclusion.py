"""Exclusion: one task at a time works on a key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Exclusion:
    """Lets the tasks of this process work on a key one after the other."""

    def __init__(self) -> None:
        self._ended: dict[Hashable, asyncio.Event] = {}

    def __contains__(self, key: Hashable) -> bool:
        """Return whether a task holds *key*."""
        return key in self._ended

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Wait until no other task holds *key*, then hold it."""
        while key in self._ended:
            await self._ended[key].wait()
        ended = self._ended[key] = asyncio.Event()
        try:
            yield
        finally:
            del self._ended[key]
            ended.set()
