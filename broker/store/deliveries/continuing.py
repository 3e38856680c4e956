"""Continuing: calls that are not made right after their attempts were begun, because these waited or made other steps.

Whether such a call may still be made is decided by the rules for attempts (`broker.store.deliveries.admission`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.admission import UNCONDITIONAL, AdmissionControl, Admitted
from broker.deliveries import DueAttempt
from broker.store.deliveries.admission import Wanted, admit_each, lock_admission
from broker.store.deliveries.attempts import Claimed, read_secrets
from broker.store.deliveries.circuits import TargetKey, end_probes
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_subscription


class _Sql(Statements, file="continuing.sql"):
    take_back: Statement
    under_way: Statement


NEEDED_TO_DELIVER = _Sql.every()
"""What deliverers carry out."""


async def take_back(database: Database, batch: Sequence[Claimed], *, rescue_after: timedelta) -> None:
    """Take back attempts that made no request: they did not take place, and are still due.

    Others may try the targets that they were to try again. One that was overtaken is left alone. The messages are given
    up for lost after *rescue_after*.
    """
    probed = {
        TargetKey(one.due.subscription_id, one.target.circuit)
        for one in batch
        if one.admitted.probe and one.target.circuit is not None
    }
    async with database.transaction() as session:
        await end_probes(session, probed)
        await session.execute(
            _Sql.take_back, **_columns(one.due for one in batch), rescue_after=rescue_after.total_seconds()
        )


async def find_free(database: Database, batch: Sequence[Claimed]) -> list[Claimed | None]:
    """Return the attempts under way whose next steps need no admission; None stands for others.

    They come with their subscriptions as they are now.
    """
    found = await _read(database, batch, admitted=False)
    return [None if one is None else one.claimed for one in found]


async def admit_steps(database: Database, batch: Sequence[Claimed], *, timeout: timedelta) -> list[Claimed | None]:
    """Admit the next steps of attempts under way; None stands for one that may not be made now, or not at all.

    The attempts have their concurrency slots and their reservations. *timeout* is for subscriptions without one of
    their own.
    """
    async with database.transaction() as session:
        await lock_admission(session, {one.due.subscription_id for one in batch})
        found = {one.claimed.due: one for one in await _read(session, batch, admitted=True) if one is not None}
        wanted = [
            Wanted(due, AdmissionControl(one.subscription, slots=None, rate=None), one.step, now)
            for due, (one, now) in sorted(found.items(), key=lambda item: item[0].signal_id)
        ]
        decisions = await admit_each(session, wanted, timeout)
    admitted = {due: one for due, one in decisions.items() if isinstance(one, Admitted)}
    return [
        replace(found[one.due].claimed, admitted=admitted[one.due]) if one.due in admitted else None for one in batch
    ]


class _Found(NamedTuple):
    """An attempt under way, and what the store's clock shows."""

    claimed: Claimed
    now: datetime


async def _read(on: Database | Session, batch: Sequence[Claimed], *, admitted: bool) -> list[_Found | None]:
    """Return the attempts that may make their next steps.

    None stands for one that was overtaken or has been ended, whose signal has expired, whose subscription was deleted
    or has no such step any more and, unless they are *admitted*, for one whose step needs admission.
    """
    rows = await on.fetch(_Sql.under_way, **_columns(one.due for one in batch), admitted=admitted)
    found = {(row["signal_id"], row["subscription_id"], row["number"]): row for row in rows}
    keys = [(one.due.signal_id, one.due.subscription_id, one.due.attempt) for one in batch]
    return [_renew(one, found[key]) if key in found else None for one, key in zip(batch, keys, strict=True)]


def _renew(claimed: Claimed, row: Row) -> _Found | None:
    """Return the attempt with its subscription as it is now; None if that has no such step."""
    subscription = read_subscription(row["subscription"])
    if claimed.step >= len(subscription.spec.targets):
        return None
    renewed = replace(
        claimed,
        subscription=subscription,
        secrets=read_secrets(row),
        signing_keys=tuple(row["signing_keys"] or ()),
        admitted=UNCONDITIONAL,
    )
    return _Found(renewed, row["now"])


def _columns(due_attempts: Iterable[DueAttempt]) -> dict[str, list[int]]:
    """Return attempts as statements take them, in ascending order of signals."""
    ascending = sorted(due_attempts, key=lambda due: due.signal_id)
    return {
        "signal_ids": [due.signal_id for due in ascending],
        "subscription_ids": [due.subscription_id for due in ascending],
        "numbers": [due.attempt for due in ascending],
    }
