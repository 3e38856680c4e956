"""Audit events in PostgreSQL, each written in the transaction of the change it describes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from broker.access import Principal
from broker.audit import AuditEvent, AuditType
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements

Snapshot = Mapping[str, Any]
"""A subject as its audit events show it: plain JSON, without secrets."""


class _Sql(Statements, file="audit.sql"):
    lock: Statement
    insert: Statement
    list: Statement


class Change:
    """A change of the administration in progress: its `session`, and a way to note what was changed."""

    def __init__(self, session: Session, by: Principal) -> None:
        self.session = session
        self._by = by

    async def note(
        self, kind: AuditType, subject_id: int, *, before: Snapshot | None = None, after: Snapshot | None = None
    ) -> None:
        """Write an audit event, unless *before* and *after* are equal."""
        if before == after:
            return
        await self.session.execute(
            _Sql.insert,
            type=kind.value,
            subject_id=subject_id,
            principal=self._by.name,
            user_id=self._by.user_id,
            token_id=self._by.token_id,
            before=None if before is None else json.dumps(before),
            after=None if after is None else json.dumps(after),
        )


@asynccontextmanager
async def change_administration(database: Database, by: Principal) -> AsyncIterator[Change]:
    """Lend a transaction in which *by* changes the administration, one at a time over all processes."""
    async with database.transaction() as session:
        await session.execute(_Sql.lock)
        yield Change(session, by)


class AuditStore:
    """Reads audit events, and writes those of bulk operations, which run in many transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, by: Principal, kind: AuditType, subject_id: int, *, after: Snapshot) -> None:
        """Write that *by* is about to start an operation of that *kind*, which *after* describes."""
        async with change_administration(self._database, by) as change:
            await change.note(kind, subject_id, after=after)

    async def page(self, *, after_id: int = 0, limit: int = 100, kind: str | None = None) -> list[AuditEvent]:
        """Return audit events in ascending order of ids, those of one `AuditType` if *kind* is given."""
        rows = await self._database.fetch(_Sql.list, after_id=after_id, type=kind, limit=limit)
        return [_read(row) for row in rows]


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
