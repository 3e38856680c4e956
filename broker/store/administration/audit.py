"""Audit events in PostgreSQL, each written in the transaction of the change it describes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from broker.access import ADMINISTRATOR, Limits, Principal
from broker.audit import AuditEvent, AuditType
from broker.store.administration.pages import Page, find_page
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements

Snapshot = Mapping[str, Any]
"""A subject as its audit events show it: plain JSON, without secrets."""


class _Sql(Statements, file="audit.sql"):
    lock: Statement
    insert: Statement
    list: Statement


class Change:
    """A change of the administration in progress: its `session`, its author (`by`), and a way to note what changed."""

    def __init__(self, session: Session, by: Principal) -> None:
        self.session = session
        self.by = by

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
            principal=self.by.name,
            user_id=self.by.user_id,
            token_id=self.by.token_id,
            names=self.by.names,
            tenants=self.by.tenants,
            before=None if before is None else json.dumps(before),
            after=None if after is None else json.dumps(after),
        )


@asynccontextmanager
async def change_administration(database: Database, by: Principal) -> AsyncIterator[Change]:
    """Lend a transaction in which *by* changes the administration, one at a time over all processes."""
    async with database.transaction() as session:
        await lock_administration(session)
        yield Change(session, by)


async def lock_administration(session: Session) -> None:
    """Keep others from changing the administration until the transaction of *session* ends."""
    await session.execute(_Sql.lock)


class AuditStore:
    """Reads audit events, and writes those of bulk operations, which run in many transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, by: Principal, kind: AuditType, subject_id: int, *, after: Snapshot) -> None:
        """Write that *by* is about to start an operation of that *kind*, which *after* describes."""
        async with change_administration(self._database, by) as change:
            await change.note(kind, subject_id, after=after)

    async def page(
        self, *, after_id: int = 0, limit: int = 100, kind: str | None = None, by: Principal = ADMINISTRATOR
    ) -> Page[AuditEvent]:
        """Return audit events in ascending order of ids, those of one `AuditType` if *kind* is given.

        Only those that *by* may see: of principals whose names and tenants are within its own.
        """

        async def fetch(after_id: int, limit: int) -> list[AuditEvent]:
            rows = await self._database.fetch(_Sql.list, after_id=after_id, type=kind, limit=limit)
            return [_read(row) for row in rows]

        def is_seen(event: AuditEvent) -> bool:
            return not reader.find_excess(Limits(names=event.names, tenants=event.tenants))

        reader = replace(by, queues=None)
        return await find_page(fetch, reader, is_seen, after_id=after_id, limit=limit)


def _read(row: Row) -> AuditEvent:
    return AuditEvent(
        id=row["id"],
        created_at=row["created_at"],
        type=row["type"],
        subject_id=row["subject_id"],
        principal=row["principal"],
        user_id=row["user_id"],
        token_id=row["token_id"],
        names=None if row["names"] is None else tuple(row["names"]),
        tenants=None if row["tenants"] is None else tuple(row["tenants"]),
        before=None if row["before"] is None else json.loads(row["before"]),
        after=None if row["after"] is None else json.loads(row["after"]),
    )
