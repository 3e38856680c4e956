"""Keeping a session: what is done again and again need not borrow one each time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

from broker.store.postgres.database import Database, Session

R = TypeVar("R")


class KeptSession:
    """A session of the pool that is kept as long as it is used again soon. An async context manager.

    To borrow one and to give it back costs as much as a small statement, and each connection has plans of its own. The
    calls of `run` come one after the other.

    Args:
        database: Whose session it is.
        idle: After how long without use it is given back.
    """

    def __init__(self, database: Database, *, idle: timedelta = timedelta(seconds=1)) -> None:
        self._database = database
        self._idle = idle.total_seconds()
        self._kept: tuple[Session, AsyncExitStack] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._giving_back: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._give_back()
        if self._giving_back is not None:
            await self._giving_back

    async def run(self, work: Callable[[Session], Awaitable[R]]) -> R:
        """Return what *work* does with the session. If it fails, another one is borrowed the next time."""
        if self._timer is not None:
            self._timer.cancel()
        if self._kept is None:
            stack = AsyncExitStack()
            self._kept = await stack.enter_async_context(self._database.session()), stack
        session, stack = self._kept
        try:
            result = await work(session)
        except BaseException as error:
            self._kept = None
            await stack.__aexit__(type(error), error, error.__traceback__)
            raise
        self._timer = asyncio.get_running_loop().call_later(self._idle, self._give_back)
        return result

    def _give_back(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            self._giving_back = asyncio.create_task(kept[1].aclose())
