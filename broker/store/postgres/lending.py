"""Lending pooled connections: one that was just returned is reused without a round through asyncpg's pool.

Acquiring a connection from asyncpg's pool and releasing it takes longer than a small statement, and every connection
caches plans of its own. So idle connections are reused, last in, first out, while there is demand. Each still goes
through the pool once a minute, because the pool replaces a connection after a number of queries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

import asyncpg  # noqa: TID251  (the fence)


class Loan(NamedTuple):
    """A connection, and when it was acquired from the pool (seconds of the loop's clock)."""

    connection: Any
    since: float


class Lender:
    """Lends the connections of *pool*.

    Args:
        pool: asyncpg's.
        timeout: How long to wait for a connection.
        idle: After how long without use a connection is released to the pool.
        longest: After how long one that is in constant use is released.
    """

    def __init__(
        self,
        pool: Any,
        *,
        timeout: timedelta,
        idle: timedelta = timedelta(seconds=1),
        longest: timedelta = timedelta(minutes=1),
    ) -> None:
        self._pool = pool
        self._timeout = timeout.total_seconds()
        self._idle = idle.total_seconds()
        self._longest = longest.total_seconds()
        self._kept: deque[tuple[Loan, float]] = deque()
        """Idle connections, each with the time at which it was returned; last in, first out."""
        self._waiting = 0
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Task[None]] = set()

    @property
    def kept(self) -> int:
        """How many idle connections are held outside the pool."""
        return sum(_is_usable(loan.connection) for loan, _ in self._kept)

    async def borrow(self) -> Loan:
        """Return an idle connection, or acquire one from the pool.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: The pool had none in time, or could not connect.
        """
        while self._kept:
            loan, _ = self._kept.pop()
            if _is_usable(loan.connection):
                return loan
            await self._return(loan)
        self._waiting += 1
        try:
            connection = await self._pool.acquire(timeout=self._timeout)
        finally:
            self._waiting -= 1
        return Loan(connection, asyncio.get_running_loop().time())

    async def give_back(self, loan: Loan, *, spoiled: bool = False) -> None:
        """Take back a connection that was lent; it may be broken.

        *spoiled*: whether a statement may still be running on it. Then it is released to the pool, which cancels that.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        is_old = now - loan.since > self._longest
        if spoiled or self._closed or self._waiting or is_old or not _is_usable(loan.connection):
            await self._return(loan)
            return
        self._kept.append((loan, now))
        if self._timer is None:
            self._timer = loop.call_later(self._idle, self._return_idle)

    async def close(self) -> None:
        """Release every idle connection to the pool, and from now on those that are given back as well."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._kept:
            await self._return(self._kept.pop()[0])
        if self._returning:
            await asyncio.wait(self._returning)

    def _return_idle(self) -> None:
        loop = asyncio.get_running_loop()
        while self._kept and self._kept[0][1] + self._idle <= loop.time():
            task = loop.create_task(self._return(self._kept.popleft()[0]))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)
        self._timer = loop.call_at(self._kept[0][1] + self._idle, self._return_idle) if self._kept else None

    async def _return(self, loan: Loan) -> None:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            await self._pool.release(loan.connection, timeout=self._timeout)


def _is_usable(connection: Any) -> bool:
    """Return whether *connection* is open, and in no transaction."""
    try:
        return not (connection.is_closed() or connection.is_in_transaction())
    except asyncpg.InterfaceError:  # it was lost, and the pool has replaced it
        return False
