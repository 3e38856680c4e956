"""Samples: targets are tried with made signals. A gateway asks for them, and a worker makes the attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, repeat

from broker.access import Principal
from broker.audit import AuditType
from broker.deliveries import DueAttempt
from broker.names import sample_name
from broker.signals import Scope, Signal, Throw
from broker.store.administration.audit import change_administration
from broker.store.deliveries.attempts import Claimed, read_secrets
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_subscription
from broker.subscriptions import Subscription, SubscriptionSpec

MOST = 4
"""How many samples of one subscription may be under way."""
TAKEN_WITHIN = timedelta(seconds=5)
"""How long a sample waits for a worker."""
LONGEST = timedelta(seconds=30)
"""How long a worker may take for one."""
_SPARE = timedelta(seconds=1)
"""For the answer to come back."""
_PAUSES = (0.02, 0.05, 0.1, 0.2)
"""Seconds between looks for the answer; the last one repeats."""
_CHANNEL = "samples"


class _Sql(Statements, file="samples.sql"):
    ask: Statement
    take: Statement
    answer: Statement
    look: Statement
    remove: Statement


class TooMany(Exception):
    """Raised when too many samples of the subscription are under way."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample that a worker has taken: its id, and the attempt to be made, of a delivery that is not in the store."""

    id: int
    claimed: Claimed


class SampleStore:
    """Passes samples to workers, and their answers back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listen(self, on_asked: Callable[[], None]) -> None:
        """Call *on_asked* when a sample may have been asked for, until the database is closed."""
        self._database.listen(_CHANNEL, lambda _: on_asked())

    async def ask(self, subscription: Subscription, payload: bytes, *, by: Principal) -> str | None:
        """Return what a worker answers, as JSON; None if there was no worker in time. The audit says that *by* asked.

        Raises:
            TooMany: `MOST` samples of the subscription are under way.
        """
        within = TAKEN_WITHIN + LONGEST + _SPARE
        async with change_administration(self._database, by) as change:
            row = await change.session.fetchrow(
                _Sql.ask,
                subscription_id=subscription.id,
                payload=payload.decode(),
                most=MOST,
                within=within.total_seconds(),
            )
            if row is None:
                raise TooMany
            named = {"name": subscription.spec.name}
            await change.note(AuditType.SUBSCRIPTION_TESTED, subscription.id, after=named)
        try:
            return await self._answered(row["id"])
        finally:
            await self._database.execute(_Sql.remove, id=row["id"])

    async def _answered(self, sample_id: int) -> str | None:
        """Return the answer of a sample as soon as it is there; None if no worker takes it, or answers, in time."""
        clock = asyncio.get_running_loop().time
        began = clock()
        for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
            await asyncio.sleep(pause)
            found = await self._database.fetchrow(_Sql.look, id=sample_id)
            if found is not None and found["answer"] is not None:
                return str(found["answer"])
            patience = TAKEN_WITHIN if found is None or not found["taken"] else TAKEN_WITHIN + LONGEST + _SPARE
            if clock() - began > patience.total_seconds():
                return None
        raise AssertionError("the pauses have no end")

    async def take(self, apps: Collection[str]) -> Sample | None:
        """Return a sample for a worker of *apps* (the empty one: of no app), if there is one."""
        row = await self._database.fetchrow(_Sql.take, apps=list(apps), within=TAKEN_WITHIN.total_seconds())
        if row is None:
            return None
        subscription = read_subscription(row["subscription"])
        due = DueAttempt(-row["id"], subscription.id, 1)  # as no signal has it
        claimed = Claimed(
            due=due,
            signal=Signal(
                id=due.signal_id, created_at=row["asked_at"], throw=_made(subscription.spec, row["payload"].encode())
            ),
            subscription=subscription,
            secrets=read_secrets(row),
            signing_keys=tuple(row["signing_keys"] or ()),
            owed_at=row["asked_at"],
        )
        return Sample(row["id"], claimed)

    async def answer(self, sample: Sample, answer: str) -> None:
        """Pass *answer*, JSON, to who asked for *sample*."""
        await self._database.execute(_Sql.answer, id=sample.id, answer=answer)


def _made(spec: SubscriptionSpec, payload: bytes) -> Throw:
    """Return a throw that the name, the tenant and the execution of *spec* match; its filter does not matter."""
    if spec.execution_id is not None:
        scope = Scope.EXECUTION
    elif spec.tenant_id is not None:
        scope = Scope.TENANT
    else:
        scope = Scope.BROADCAST
    return Throw(
        name=sample_name(spec.name),
        payload=payload,
        scope=scope,
        tenant_id=spec.tenant_id if scope is Scope.TENANT else None,
        execution_id=spec.execution_id,
    )
