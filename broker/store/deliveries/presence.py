"""Presence: deliverers show that they are there, so that no other one takes over what they are still attempting."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from broker.errors import StoreUnavailable
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements

_EVERY = 1.0
"""Seconds between two signs of a deliverer. One that has given none for `attempts.GONE_AFTER` is gone."""

log = structlog.get_logger()


class _Sql(Statements, file="presence.sql"):
    appear: Statement
    stay: Statement
    leave: Statement


class Presence:
    """Shows that a deliverer is there, for as long as the block lasts.

    Args:
        database: Where it is shown.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._task: asyncio.Task[None] | None = None
        self.id: int | None = None
        """What the store knows the deliverer by; None as long as it does not."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._show())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.id is not None:
            with suppress(StoreUnavailable):
                await self._database.execute(_Sql.leave, id=self.id)

    async def _show(self) -> None:
        while True:
            try:
                if self.id is None or await self._database.fetchval(_Sql.stay, id=self.id) is None:
                    self.id = await self._database.fetchval(_Sql.appear)
            except StoreUnavailable as error:
                log.debug("presence.unknown", error=str(error))
            except Exception:
                log.exception("presence.failed")
            await asyncio.sleep(_EVERY)
