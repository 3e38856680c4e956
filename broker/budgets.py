"""Budgets of bytes: what is large waits until there is room for it in memory."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple


class _Waiting(NamedTuple):
    """A task that waits for *size* bytes, and has *held* already."""

    size: int
    held: int
    turn: asyncio.Future[None]


class Budget:
    """A number of bytes that tasks share, first come first served.

    A task may have bytes and wait for more. If all bytes are with such tasks, none of them would ever go on: the first
    one gets what it waits for, however many bytes that takes.

    Args:
        total: How many bytes; more at once are given only when all others are back.
        most_waiting: How many tasks may wait.
    """

    def __init__(self, total: int, *, most_waiting: int = sys.maxsize) -> None:
        self._total = total
        self._most_waiting = most_waiting
        self._taken = 0
        self._waiting: deque[_Waiting] = deque()

    async def take(self, size: int, *, held: int = 0) -> None:
        """Take *size* bytes, once there are as many; they have to be given back.

        A task that has *held* bytes already gets more before those that have none.

        Raises:
            TimeoutError: Too many tasks wait already.
        """
        if not self._waiting and self._fits(size, idle=held):
            self._taken += size
            return
        if len(self._waiting) >= self._most_waiting:
            raise TimeoutError(f"{self._most_waiting} wait already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = sum(1 for one in self._waiting if one.held) if held else len(self._waiting)
        self._waiting.insert(place, _Waiting(size, held, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._taken -= size  # it was given at the same moment
            self._serve()
            raise

    def overdraw(self, size: int) -> None:
        """Take *size* bytes that are in memory already, whether or not there are as many."""
        self._taken += size

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

    def _fits(self, size: int, *, idle: int) -> bool:
        """Return whether *size* bytes may be given; *idle* bytes are with tasks that wait for more."""
        return self._taken == idle or self._taken + size <= self._total

    def _serve(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            if not first.turn.done():
                idle = sum(one.held for one in self._waiting if not one.turn.done())
                if not self._fits(first.size, idle=idle):
                    return
                self._taken += first.size
                first.turn.set_result(None)
            self._waiting.popleft()
