"""Reading: GET requests take turns, so that a principal that reads a lot delays neither throws nor other readers."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.http_errors import Busy

AT_ONCE = 4
"""How many requests read at the same time: fewer than there are connections to PostgreSQL."""
OF_ONE = 2
"""How many of these may be one principal's."""
MOST_WAITING = 1000
PATIENCE = 10.0
"""For how many seconds a request waits for its turn."""
_RETRY_AFTER = 5


class Readers:
    """Lets a few requests read at a time; principals take turns."""

    def __init__(self) -> None:
        self._free = AT_ONCE
        self._reading: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._count = 0

    @asynccontextmanager
    async def turn(self, principal: str) -> AsyncIterator[None]:
        """Wait for a turn of *principal*, and keep it while the block runs.

        Raises:
            Busy: It did not come in time, or too many wait.
        """
        if self._free and self._reading[principal] < OF_ONE:
            self._take(principal)
        else:
            await self._wait(principal)
        try:
            yield
        finally:
            self._give_back(principal)

    async def _wait(self, principal: str) -> None:
        message = "Too many requests read at the moment; try again in some seconds."
        if self._count >= MOST_WAITING:
            raise Busy(message, retry_after=_RETRY_AFTER)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(principal, deque()).append(turn)
        self._count += 1
        try:
            async with asyncio.timeout(PATIENCE):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give_back(principal)
            else:
                self._leave(principal, turn)
            if isinstance(error, TimeoutError):
                raise Busy(message, retry_after=_RETRY_AFTER) from error
            raise

    def _take(self, principal: str) -> None:
        self._free -= 1
        self._reading[principal] += 1

    def _give_back(self, principal: str) -> None:
        self._free += 1
        self._reading[principal] -= 1
        if not self._reading[principal]:
            del self._reading[principal]
        while self._free and (following := self._next()) is not None:
            turn = self._waiting[following][0]
            self._leave(following, turn)
            if turn.done():
                continue  # its request ended just now, and has not noticed that so far
            if following in self._waiting:
                self._waiting.move_to_end(following)
            self._take(following)
            turn.set_result(None)

    def _next(self) -> str | None:
        return next((principal for principal in self._waiting if self._reading[principal] < OF_ONE), None)

    def _leave(self, principal: str, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(principal)
        if waiting is None or turn not in waiting:
            return
        waiting.remove(turn)
        self._count -= 1
        if not waiting:
            del self._waiting[principal]


READERS = web.AppKey("readers", Readers)
