"""Budgets of bytes: what is large waits until there is room for it in memory."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """A number of bytes that tasks share, first come first served.

    Args:
        total: How many bytes; more at once are given only when all others are back.
        most_waiting: How many tasks may wait.
    """

    def __init__(self, total: int, *, most_waiting: int = sys.maxsize) -> None:
        self._total = total
        self._most_waiting = most_waiting
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Take *size* bytes, once there are as many; they have to be given back.

        Raises:
            TimeoutError: Too many tasks wait already.
        """
        if not self._waiting and self._fits(size):
            self._taken += size
            return
        if len(self._waiting) >= self._most_waiting:
            raise TimeoutError(f"{self._most_waiting} wait already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._taken -= size  # it was given at the same moment
            self._serve()
            raise

    def give_back(self, size: int) -> None:
        """Give *size* bytes back."""
        self._taken -= size
        self._serve()

    @asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[None]:
        """Have *size* bytes in the block.

        Raises:
            TimeoutError: Too many tasks wait already.
        """
        await self.take(size)
        try:
            yield
        finally:
            self.give_back(size)

    def _fits(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._total

    def _serve(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.done():
                if not self._fits(size):
                    return
                self._taken += size
                turn.set_result(None)
            self._waiting.popleft()
