"""When tokens were last used: collected in memory, and written for all of them together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from broker.access import Principal
from broker.errors import SignalBrokerError
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements

EVERY = timedelta(minutes=1)

log = structlog.get_logger()


class _Sql(Statements, file="uses.sql"):
    note_token_uses: Statement
    note_endpoint_token_uses: Statement


class TokenUses:
    """Notes the uses of tokens; `written` writes them every minute, in one statement for each kind of token.

    What was used is written as so long ago, so that the clocks of gateways do not matter. Of several gateways' reports
    the latest use counts. What could not be written is written the next time.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._tokens: dict[int, float] = {}
        self._endpoint_tokens: dict[int, float] = {}

    def note(self, principal: Principal) -> None:
        """Note that *principal* has just called, if it did with a token of the store."""
        if principal.token_id is not None:
            of_kind = self._tokens if principal.endpoint_id is None else self._endpoint_tokens
            of_kind[principal.token_id] = self._clock()

    @asynccontextmanager
    async def written(self, *, every: timedelta = EVERY) -> AsyncIterator[None]:
        """Write what is noted in the background, and the last of it on leaving."""
        writing = asyncio.create_task(self._write_always(every), name="token-uses")
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._try_to_write()

    async def write(self) -> None:
        """Write what was noted since the last time.

        Raises:
            StoreUnavailable: PostgreSQL did not answer; what was noted is kept.
        """
        self._tokens = await self._write(_Sql.note_token_uses, self._tokens)
        self._endpoint_tokens = await self._write(_Sql.note_endpoint_token_uses, self._endpoint_tokens)

    async def _write(self, statement: Statement, uses: dict[int, float]) -> dict[int, float]:
        """Write *uses* and return those that came in the meantime."""
        written = dict(uses)
        if written:
            now = self._clock()
            await self._database.execute(
                statement, ids=list(written), ago=[now - used_at for used_at in written.values()]
            )
        return {token_id: used_at for token_id, used_at in uses.items() if written.get(token_id) != used_at}

    async def _write_always(self, every: timedelta) -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            await self._try_to_write()

    async def _try_to_write(self) -> None:
        try:
            await self.write()
        except SignalBrokerError as error:
            log.warning("uses.postponed", error=str(error))
