"""Suspects: messages that may be what ends their recorders, noted before they are handled."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="suspects.sql"):
    count: Statement
    begin: Statement
    end: Statement


NEEDED_TO_RECORD = _Sql.every()
"""What a recorder carries out."""


class SuspectStore:
    """Notes which messages one recorder is handling, by keys that stay the same when a message comes again.

    Args:
        database: Where they are noted.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = uuid.uuid4()

    async def count(self, keys: Sequence[str]) -> dict[str, int]:
        """Return how many other recorders began to handle each message and did not end; without those that none did."""
        rows = await self._database.fetch(_Sql.count, keys=keys, holder=self._holder)
        return {row["key"]: row["begun"] for row in rows}

    async def begin(self, keys: Sequence[str]) -> None:
        """Note that this recorder begins to handle these messages."""
        await self._database.execute(_Sql.begin, keys=keys, holder=self._holder)

    async def end(self, keys: Sequence[str]) -> None:
        """Note that this recorder has survived these messages."""
        await self._database.execute(_Sql.end, keys=keys)
