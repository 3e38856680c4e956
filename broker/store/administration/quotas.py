"""Quotas in PostgreSQL: what is allowed, and what gateways report of what is used."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from broker.access import Limits, Principal
from broker.audit import AuditType
from broker.quotas import Quota, QuotaKind, Subject
from broker.store.administration.audit import Snapshot, change_administration
from broker.store.administration.limits import read_limits
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements

_NOBODY = Subject(QuotaKind.TENANT, "")
_LOOKS = 1_000
"""How many quotas are read in one statement."""


class _Sql(Statements, file="quotas.sql"):
    get: Statement
    put: Statement
    remove: Statement
    list: Statement
    all: Statement
    report_demands: Statement
    report_payloads: Statement
    usage: Statement
    forget: Statement


class Usage(NamedTuple):
    """What a subject uses.

    Args:
        others: How many throws a second are tried at other gateways.
        gateways: How many gateways there are.
        payload_bytes: The bytes of today's payloads that were reported.
    """

    others: float
    gateways: int
    payload_bytes: int


class QuotaStore:
    """Sets, shows and removes quotas; every change is audited. Keeps what gateways report."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, subject: Subject, quota: Quota, *, by: Principal) -> None:
        """Set the quota of *subject*."""
        async with change_administration(self._database, by) as change:
            before = await change.session.fetchrow(_Sql.get, **_key(subject))
            await change.session.execute(_Sql.put, **_key(subject), **asdict(quota))
            await change.note(
                AuditType.QUOTA_SET,
                _number(subject),
                before=None if before is None else _snapshot(subject, _read(before)),
                after=_snapshot(subject, quota),
            )

    async def get(self, subject: Subject) -> Quota | None:
        """Return the quota of *subject*, if it has one."""
        row = await self._database.fetchrow(_Sql.get, **_key(subject))
        return None if row is None else _read(row)

    async def remove(self, subject: Subject, *, by: Principal) -> bool:
        """Remove the quota of *subject*; return whether it had one."""
        async with change_administration(self._database, by) as change:
            before = await change.session.fetchrow(_Sql.get, **_key(subject))
            if before is None:
                return False
            await change.session.execute(_Sql.remove, **_key(subject))
            await change.note(AuditType.QUOTA_REMOVED, _number(subject), before=_snapshot(subject, _read(before)))
        return True

    async def page(
        self, *, after: Subject = _NOBODY, limit: int, by: Principal
    ) -> tuple[list[tuple[Subject, Quota]], Subject | None]:
        """Return quotas, in order, that *by* may see, and after which one of them more may follow.

        Args:
            after: The last one of the page before.
            limit: How many fill the page.
            by: Sees those of tenants that it speaks for, and of tokens that reach no further than it does.
        """
        items: list[tuple[Subject, Quota]] = []
        while True:
            rows = await self._database.fetch(_Sql.list, **_key(after), limit=_LOOKS)
            for row in rows:
                after = Subject(QuotaKind(row["kind"]), row["subject"])
                if _is_seen(by, after, row):
                    items.append((after, _read(row)))
                if len(items) == limit:
                    return items, after
            if len(rows) < _LOOKS:
                return items, None

    async def every(self) -> dict[Subject, Quota]:
        """Return all quotas."""
        rows = await self._database.fetch(_Sql.all)
        return {Subject(QuotaKind(row["kind"]), row["subject"]): _read(row) for row in rows}

    async def report_demands(self, gateway: uuid.UUID, demands: Mapping[Subject, float]) -> None:
        """Store how many throws a second subjects try at a gateway, and that it is there."""
        subjects = [_NOBODY, *demands]
        await self._database.execute(
            _Sql.report_demands, gateway=gateway, **_keys(subjects), demands=[0.0, *demands.values()]
        )

    async def report_payloads(self, payload_bytes: Mapping[Subject, int]) -> None:
        """Add so many bytes to today's payloads of each subject."""
        await self._database.execute(
            _Sql.report_payloads, **_keys(list(payload_bytes)), payload_bytes=list(payload_bytes.values())
        )

    async def usage(self, gateway: uuid.UUID, subjects: Collection[Subject]) -> dict[Subject, Usage]:
        """Return what *subjects* use, as the other gateways than this one have reported."""
        rows = await self._database.fetch(_Sql.usage, gateway=gateway, **_keys(list(subjects)))
        return {
            Subject(QuotaKind(row["kind"]), row["subject"]): Usage(row["others"], row["gateways"], row["payload_bytes"])
            for row in rows
        }

    async def forget(self) -> None:
        """Forget the payloads of days long past."""
        await self._database.execute(_Sql.forget)


def _key(subject: Subject) -> dict[str, str]:
    return {"kind": subject.kind.value, "subject": subject.id}


def _keys(subjects: Sequence[Subject]) -> dict[str, list[str]]:
    return {"kinds": [one.kind.value for one in subjects], "subjects": [one.id for one in subjects]}


def _number(subject: Subject) -> int:
    """Return the subject's id in audit events: tenants have no number."""
    return int(subject.id) if subject.kind is QuotaKind.TOKEN else 0


def _snapshot(subject: Subject, quota: Quota) -> Snapshot:
    return {"kind": subject.kind.value, "subject": subject.id, **asdict(quota)}


def _is_seen(by: Principal, subject: Subject, row: Row) -> bool:
    if subject.kind is QuotaKind.TENANT:
        return by.speaks_for(subject.id)
    return not by.find_excess(Limits(**read_limits(row)))


def _read(row: Row) -> Quota:
    return Quota(
        throws_per_second=row["throws_per_second"],
        subscriptions=row["subscriptions"],
        deliveries_per_throw=row["deliveries_per_throw"],
        payload_bytes_per_day=row["payload_bytes_per_day"],
    )
