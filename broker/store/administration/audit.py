"""Audit events in PostgreSQL, written in the transaction of the change that they tell of."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from broker.access import Principal
from broker.audit import AuditEvent, AuditType
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import load

_SQL = load("broker.store.administration", "audit")

Snapshot = Mapping[str, Any]
"""Something administered as its audit events show it: plain JSON, without secrets."""


class Change:
    """A change of the administration under way: its `session`, and a way to note what was changed."""

    def __init__(self, session: Session, by: Principal) -> None:
        self.session = session
        self._by = by

    async def note(
        self, kind: AuditType, subject_id: int, *, before: Snapshot | None = None, after: Snapshot | None = None
    ) -> None:
        """Write an audit event, unless *before* and *after* say that nothing was changed."""
        if before == after:
            return
        await self.session.execute(
            _SQL.note,
            kind.value,
            subject_id,
            self._by.name,
            self._by.user_id,
            self._by.token_id,
            None if before is None else json.dumps(before),
            None if after is None else json.dumps(after),
        )


@asynccontextmanager
async def changing(database: Database, by: Principal) -> AsyncIterator[Change]:
    """Lend a transaction in which *by* changes the administration; over all processes there is one at a time."""
    async with database.transaction() as session:
        await session.execute(_SQL.lock)
        yield Change(session, by)


class AuditStore:
    """Reads audit events, and writes those of what is done bit by bit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, by: Principal, kind: AuditType, subject_id: int, *, after: Snapshot) -> None:
        """Write that *by* is about to do *kind*, as *after* says."""
        async with changing(self._database, by) as change:
            await change.note(kind, subject_id, after=after)

    async def page(self, *, after_id: int = 0, limit: int = 100, kind: str | None = None) -> list[AuditEvent]:
        """Return audit events in ascending order of ids, those of one `AuditType` if *kind* is given."""
        return [_read(row) for row in await self._database.fetch(_SQL.list, after_id, kind, limit)]


def _read(row: Row) -> AuditEvent:
    return AuditEvent(
        id=row["id"],
        created_at=row["created_at"],
        type=row["type"],
        subject_id=row["subject_id"],
        principal=row["principal"],
        user_id=row["user_id"],
        token_id=row["token_id"],
        before=None if row["before"] is None else json.loads(row["before"]),
        after=None if row["after"] is None else json.loads(row["after"]),
    )
