"""Deliveries and their attempts in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import repeat

from broker.access import Principal
from broker.admission import UNHINDERED, Pass
from broker.audit import AuditType
from broker.deliveries import BY_HAND, DeliveryState, DueAttempt, Outcome, Result, Step, delivery_id
from broker.names import expression
from broker.signals import Signal
from broker.store.administration.audit import change_administration
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import load
from broker.store.rows import read_due, read_signal, read_subscription
from broker.store.spans import find_span
from broker.subscriptions import Subscription, Target

_SQL = load("broker.store.deliveries", "deliveries")
_REDRIVE = load("broker.store.deliveries", "redrives").redrive


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An attempt that was begun: all that it takes to make it.

    Args:
        due: Which attempt.
        signal: What is owed.
        subscription: To whom.
        secrets: What signs a webhook as ``v1``, sealed: the secret, and during a rotation the one before it.
        signing_keys: What signs a webhook as ``v1a``, sealed, the newest first.
        owed_at: When the signal was recorded.
        redriven: How many attempts had been made when the delivery was last redriven.
        in_line: Whether others of its line wait for its end.
        passed: How it got through its subscription's gate.
        step: The step to begin with, or that is being made, from 0.
    """

    due: DueAttempt
    signal: Signal
    subscription: Subscription
    secrets: tuple[bytes, ...]
    signing_keys: tuple[bytes, ...]
    owed_at: datetime
    redriven: int = 0
    in_line: bool = False
    passed: Pass = UNHINDERED
    step: int = 0

    @property
    def target(self) -> Target:
        """Where the step delivers."""
        return self.subscription.spec.targets[self.step]

    @property
    def message_id(self) -> str:
        """What receivers know repeats by: the delivery's id, which each step continues with its number from 1."""
        return f"{self.due.delivery_id}-{self.step + 1}" if self.subscription.spec.in_steps else self.due.delivery_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An attempt that was made.

    Args:
        due: Which attempt.
        result: What it came to.
        state: What it makes of the delivery.
        pause: How long to park, if the state is `parked`.
        started_at: When the attempt began.
        duration: How long it took.
        reason: Why it is parked or dead, if it is.
        address: The webhook that was called, if it was one.
        in_line: Whether others of its line wait for the delivery's end.
        passed: How it got through its subscription's gate.
        steps: The steps that it made, if the delivery has any; the last one's result is the attempt's.
    """

    due: DueAttempt
    result: Result
    state: DeliveryState
    pause: timedelta | None
    started_at: datetime
    duration: timedelta
    reason: str | None = None
    address: str | None = None
    in_line: bool = False
    passed: Pass = UNHINDERED
    steps: tuple[Step, ...] = ()

    @property
    def calls(self) -> list[tuple[str | None, Result, Pass]]:
        """Each webhook called, what it came to and how it got there: the gate saw the first one only."""
        if not self.steps:
            return [(self.address, self.result, self.passed)]
        passes = (self.passed, *repeat(UNHINDERED, len(self.steps) - 1))
        return [(step.address, step.result, passed) for step, passed in zip(self.steps, passes, strict=True)]

    @property
    def steps_done(self) -> int:
        """How many steps the delivery has behind it now."""
        succeeded = (step.number for step in self.steps if step.result.outcome is Outcome.SUCCEEDED)
        return max(succeeded, default=self.steps[0].number - 1 if self.steps else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The books in one snapshot, of all subscriptions or of one.

    Args:
        recorded: Signals recorded (of all subscriptions, always).
        matched: Deliveries owed, as counted when the signals were recorded.
        states: Deliveries by state.
    """

    recorded: int
    matched: int
    states: dict[DeliveryState, int]

    @property
    def unaccounted(self) -> int:
        """What is owed but in no state; anything but 0 is a defect."""
        return self.matched - sum(self.states.values())


class DeliveryStore:
    """Claims, releases, repairs and reads deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, batch: Sequence[tuple[DueAttempt, bool]], *, timeout: timedelta, grace: timedelta
    ) -> list[Claimed | None]:
        """Begin the attempts of *batch* (each with whether its message was handed out before) that need no gate.

        None stands for an attempt that is out of date, or whose signal has expired (the delivery is cancelled then), or
        that `broker.store.deliveries.admission.AdmissionStore.admit` has to decide on. *timeout* is for subscriptions without one of their
        own; after it and *grace* more the scheduler looks after the attempt.
        """
        return await begin(self._database, batch, timeout=timeout, grace=grace, admitted=False)

    async def finish(self, batch: Sequence[Ended]) -> list[None]:
        """End the attempts of *batch*; one that was overtaken leaves the delivery's state alone.

        Those that concern more than their delivery are for `broker.store.deliveries.admission.AdmissionStore.finish`.
        """
        await end(self._database, batch)
        return [None] * len(batch)

    async def cancel(self, due: DueAttempt) -> None:
        """Cancel a delivery whose subscription was deleted."""
        await self._database.execute(_SQL.cancel, [due.signal_id], [due.subscription_id])

    async def release(self, *, limit: int, rescue_after: timedelta) -> list[DueAttempt]:
        """Put at most *limit* parked deliveries that are due back to pending, and return their next attempts."""
        return read_due(await self._database.fetch(_SQL.release, limit, rescue_after.total_seconds()))

    async def overdue(self, *, limit: int) -> dict[str, int]:
        """Return how many pending deliveries should have been attempted by now, counting up to *limit* of each app.

        ``""`` stands for those that no app's handlers are owed. Who has none is not in it.
        """
        return {row["app"]: row["n"] for row in await self._database.fetch(_SQL.overdue, limit)}

    async def late(self, *, by: timedelta) -> int:
        """Return how many parked deliveries are due since *by* or longer: nobody seems to release them."""
        return int(await self._database.fetchval(_SQL.late, by.total_seconds()))

    async def repair(self, app: str, *, limit: int, rescue_after: timedelta) -> list[DueAttempt]:
        """Return the next attempts of at most *limit* of the pending deliveries that `overdue` counts for *app*."""
        return read_due(await self._database.fetch(_SQL.repair, limit, rescue_after.total_seconds(), app))

    async def get(self, due: tuple[int, int]) -> Row | None:
        """Return the row of a delivery (signal id, subscription id).

        With it the subscription's ``tenant_id``, the signal's ``name``, and why another attempt would not be made, as a
        clause (``hopeless``; None if it would).
        """
        return await self._database.fetchrow(_SQL.get, *due)

    async def attempts(self, due: tuple[int, int]) -> list[Row]:
        """Return the rows of a delivery's attempts in order."""
        return await self._database.fetch(_SQL.attempts, *due)

    async def page(
        self,
        *,
        after: tuple[int, int] = (0, 0),
        limit: int = 100,
        state: str | None = None,
        subscription_id: int | None = None,
        signal_id: int | None = None,
        tenants: Sequence[str] | None = None,
        name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        outcome: Outcome | None = None,
    ) -> list[Row]:
        """Return rows of deliveries in ascending order of ids; *tenants* are those the caller sees (None: all).

        *name* is that of the signal, or a pattern; it was accepted at *since* or later and before *until*; *outcome* is
        that of the last attempt.
        """
        first_id, last_id = await find_span(self._database, since, until)
        return await self._database.fetch(
            _SQL.list,
            *max(after, (first_id, 0)),
            state,
            subscription_id,
            signal_id,
            tenants,
            last_id,
            None if name is None else expression([name]),
            since,
            until,
            outcome,
            limit,
        )

    async def redrive(self, due: tuple[int, int]) -> bool:
        """Put a dead delivery back; return whether it was dead."""
        return await self._database.fetchval(_REDRIVE, [due[0]], [due[1]], [None]) is not None

    async def give_up(self, due: tuple[int, int], *, by: Principal) -> bool:
        """Cancel a dead or parked delivery; return whether it was one."""
        async with change_administration(self._database, by) as change:
            if await change.session.fetchval(_SQL.give_up, *due, BY_HAND) is None:
                return False
            await change.note(AuditType.DELIVERY_CANCELLED, due[1], after={"deliveryId": delivery_id(*due)})
        return True

    async def ledger(self, subscription_id: int | None = None) -> Ledger:
        """Return the books in one consistent snapshot."""
        counts = {row["counted"]: row["n"] for row in await self._database.fetch(_SQL.ledger, subscription_id)}
        return Ledger(
            recorded=counts.get("recorded", 0),
            matched=counts.get("matched", 0),
            states={state: counts.get(state.value, 0) for state in DeliveryState},
        )

    async def fold_ledger(self, *, limit: int) -> int:
        """Fold at most *limit* of what changed in the books, so that `ledger` need not add it up; return how many."""
        return int(await self._database.fetchval(_SQL.fold_ledger, limit))


async def begin(
    on: Database | Session,
    batch: Sequence[tuple[DueAttempt, bool]],
    *,
    timeout: timedelta,
    grace: timedelta,
    admitted: bool,
) -> list[Claimed | None]:
    """Begin the attempts of *batch* (see `DeliveryStore.claim`); *admitted*: their gates let them pass."""
    ascending = sorted(batch, key=lambda asked: asked[0].signal_id)  # the statement looks from the first one on
    rows = await on.fetch(
        _SQL.claim,
        [due.signal_id for due, _ in ascending],
        [due.subscription_id for due, _ in ascending],
        [due.attempt for due, _ in ascending],
        [again for _, again in ascending],
        timeout.total_seconds(),
        grace.total_seconds(),
        admitted,
    )
    claimed = {(row["signal_id"], row["subscription_id"], row["attempts"]): row for row in rows}
    # Popped, so that of two messages for one attempt in the same batch only the first begins it.
    popped = (claimed.pop((due.signal_id, due.subscription_id, due.attempt), None) for due, _ in batch)
    return [None if row is None else _read_claimed(due, row) for (due, _), row in zip(batch, popped, strict=True)]


async def end(on: Database | Session, batch: Sequence[Ended]) -> None:
    """End the attempts of *batch*; one that was overtaken leaves the delivery's state alone."""
    batch = sorted(batch, key=lambda ended: ended.due.signal_id)  # the statement looks from the first one on
    await on.execute(
        _SQL.finish,
        [ended.due.signal_id for ended in batch],
        [ended.due.subscription_id for ended in batch],
        [ended.due.attempt for ended in batch],
        [ended.state.value for ended in batch],
        [None if ended.pause is None else ended.pause.total_seconds() for ended in batch],
        [ended.started_at for ended in batch],
        [ended.duration.total_seconds() for ended in batch],
        [ended.result.outcome.value for ended in batch],
        [ended.result.status for ended in batch],
        [_storable(ended.result.error) for ended in batch],
        [_storable(ended.result.excerpt) for ended in batch],
        [_storable(ended.reason) for ended in batch],
        [ended.steps_done for ended in batch],
        [json.dumps([_step_columns(step) for step in ended.steps]) if ended.steps else None for ended in batch],
    )


def _step_columns(step: Step) -> dict[str, object]:
    return {
        "step": step.number,
        "duration": step.duration.total_seconds(),
        "outcome": step.result.outcome.value,
        "status": step.result.status,
        "error": _storable(step.result.error),
        "excerpt": _storable(step.result.excerpt),
    }


def _read_claimed(due: DueAttempt, row: Row) -> Claimed:
    subscription = read_subscription(row["subscription"])
    return Claimed(
        due=due,
        signal=read_signal(row["signal"]),
        subscription=subscription,
        secrets=tuple(secret for secret in (row["subscription"]["secret"], row["previous_secret"]) if secret),
        signing_keys=tuple(row["signing_keys"] or ()),
        owed_at=row["owed_at"],
        redriven=row["redriven"],
        in_line=row["ordering_key"] is not None,
        step=min(row["steps_done"], len(subscription.spec.targets) - 1),
    )


def _storable(text: str | None) -> str | None:
    """Return *text* as PostgreSQL takes it: one odd character must not cost a whole batch of attempts."""
    return None if text is None else text.replace("\x00", "").encode(errors="replace").decode()[:2000]
