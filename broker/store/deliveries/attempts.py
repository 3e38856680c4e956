"""Attempts in PostgreSQL: begun and ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import NamedTuple

from broker.admission import UNCONDITIONAL, Admitted
from broker.deliveries import DELETED, DeliveryState, DueAttempt, Outcome, Result, Step
from broker.signals import Signal
from broker.store.exchanges import pack
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements, sparse
from broker.store.rows import read_signal, read_subscription
from broker.subscriptions import Subscription
from broker.targets import Target

GONE_AFTER = timedelta(seconds=3)
"""After how long a deliverer of which nothing was seen is gone; see `broker.store.deliveries.presence`."""
SMALL = 16 << 10
"""Bytes of payload that each attempt has room for."""


class _Sql(Statements, file="attempts.sql"):
    begin: Statement
    interrupt: Statement
    note_steps: Statement
    finish: Statement
    cancel: Statement


NEEDED_TO_DELIVER = _Sql.every()
"""What deliverers carry out."""


class AttemptRequest(NamedTuple):
    """A deliverer's request to begin an attempt.

    Args:
        due: The attempt.
        redelivered: Whether its message was handed out before.
        room: How many bytes of payload it has room for.
    """

    due: DueAttempt
    redelivered: bool = False
    room: int = SMALL


@dataclass(frozen=True, slots=True)
class Oversized:
    """The attempt is not begun, because its payload has more bytes than there was room for.

    Args:
        size: How many bytes.
    """

    size: int


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The attempt is not begun, because another deliverer is making it; that one has lost its link to RabbitMQ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An attempt that was begun: all that it takes to make it.

    Args:
        due: The attempt, with the number that it has.
        signal: The signal that is owed.
        subscription: The subscription that it is owed to.
        secrets: What signs a webhook as ``v1``, sealed: the secret, and during a rotation the one before it.
        signing_keys: What signs a webhook as ``v1a``, sealed, the newest first.
        owed_at: When the signal was recorded.
        uncounted: How many attempts before it the schedule does not count: those before the delivery was last redriven,
            and interrupted ones after that.
        in_group: Whether the delivery is in an ordering group.
        admitted: How it was admitted.
        step: The step to begin with, or that is being made, from 0.
        later: Whether the step is a later one than the first of this attempt.
        again: Whether it takes the place of one that was interrupted, because the deliverer of that seems to be gone.
    """

    due: DueAttempt
    signal: Signal
    subscription: Subscription
    secrets: tuple[bytes, ...]
    signing_keys: tuple[bytes, ...]
    owed_at: datetime
    uncounted: int = 0
    in_group: bool = False
    admitted: Admitted = UNCONDITIONAL
    step: int = 0
    later: bool = False
    again: bool = False

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
        due: The attempt.
        result: What it came to.
        state: What it makes of the delivery.
        pause: How long to park, if the state is `parked`.
        started_at: When the attempt began.
        duration: How long it took.
        reason: Why the delivery is parked or dead, if it is.
        address: The webhook that was called, if it was one.
        in_group: Whether the delivery is in an ordering group.
        admitted: How it was admitted.
        steps: The steps that it made, if the delivery has any; the last one's result is the attempt's.
        later: How each step after its first one was admitted.
        uncounted: Whether the schedule does not count it.
    """

    due: DueAttempt
    result: Result
    state: DeliveryState
    pause: timedelta | None
    started_at: datetime
    duration: timedelta
    reason: str | None = None
    address: str | None = None
    in_group: bool = False
    admitted: Admitted = UNCONDITIONAL
    steps: tuple[Step, ...] = ()
    later: tuple[Admitted, ...] = ()
    uncounted: bool = False

    @property
    def calls(self) -> list[tuple[str | None, Result, Admitted]]:
        """Each webhook called, its result, and how the call was admitted."""
        if not self.steps:
            return [(self.address, self.result, self.admitted)]
        admissions = chain((self.admitted, *self.later), repeat(UNCONDITIONAL))
        return [(step.address, step.result, admitted) for step, admitted in zip(self.steps, admissions, strict=False)]

    @property
    def steps_done(self) -> int:
        """How many steps of the delivery have succeeded by now."""
        succeeded = (step.number for step in self.steps if step.result.outcome is Outcome.SUCCEEDED)
        return max(succeeded, default=self.steps[0].number - 1 if self.steps else 0)

    @property
    def ends_delivery(self) -> bool:
        """Whether no attempt follows by itself."""
        return self.state is not DeliveryState.PARKED


class StepsMade(NamedTuple):
    """The steps that an attempt under way has made so far, and that have succeeded.

    Args:
        due: The attempt.
        steps: The steps.
    """

    due: DueAttempt
    steps: Sequence[Step]


async def begin(
    on: Database | Session,
    batch: Sequence[AttemptRequest],
    *,
    timeout: timedelta,
    rescue_after: timedelta,
    admitted: bool,
    by: int | None,
    leased_for: timedelta | None = None,
    read: Callable[[Row], Subscription] = read_subscription,
) -> list[Claimed | None]:
    """Begin the attempts of *batch*; None stands for one that is out of date.

    Whether their messages were redelivered does not matter here: an attempt that was begun before is out of date. None
    also stands for an attempt whose signal has expired (the scheduler cancels its delivery), for one whose payload
    needs more room and, unless they are *admitted*, for one that needs admission. *timeout* is for subscriptions
    without one of their own; after it, and a third of *rescue_after* to all of it more, the scheduler rescues the
    delivery. *by* is the deliverer, as the store knows it. *leased_for* is how long a caller leases the attempts, and
    takes the place of both. *read* reads their subscriptions.
    """
    ascending = sorted(batch, key=lambda request: request.due.signal_id)  # the statement looks from the first one on
    rows = await on.fetch(
        _Sql.begin,
        signal_ids=[due.signal_id for due, _, _ in ascending],
        subscription_ids=[due.subscription_id for due, _, _ in ascending],
        numbers=[due.attempt for due, _, _ in ascending],
        rooms=[room for _, _, room in ascending],
        timeout=timeout.total_seconds(),
        rescue_after=rescue_after.total_seconds(),
        admitted=admitted,
        by=by,
        leased_for=None if leased_for is None else leased_for.total_seconds(),
    )
    begun = {(row["signal_id"], row["subscription_id"], row["number"]): row for row in rows}
    # Popped, so that of two messages for one attempt in the same batch only the first begins it.
    dues = [request.due for request in batch]
    popped = (begun.pop((due.signal_id, due.subscription_id, due.attempt), None) for due in dues)
    return [None if row is None else read_claimed(due, row, read) for due, row in zip(dues, popped, strict=True)]


async def interrupt(session: Session, redelivered: Sequence[DueAttempt], *, by: int | None) -> None:
    """Note that the attempts begun for *redelivered* messages were interrupted, as far as they have not ended.

    What another deliverer than the one that asks (*by*) is still making is left alone.
    """
    await session.execute(
        _Sql.interrupt,
        signal_ids=[due.signal_id for due in redelivered],
        subscription_ids=[due.subscription_id for due in redelivered],
        numbers=[due.attempt for due in redelivered],
        by=by,
        gone_after=GONE_AFTER.total_seconds(),
    )


async def note_steps(on: Database | Session, batch: Sequence[StepsMade]) -> None:
    """Note the steps that attempts under way have made; an attempt that was overtaken, or has ended, notes nothing."""
    batch = sorted(batch, key=lambda made: made.due.signal_id)
    await on.execute(
        _Sql.note_steps,
        signal_ids=[due.signal_id for due, _ in batch],
        subscription_ids=[due.subscription_id for due, _ in batch],
        numbers=[due.attempt for due, _ in batch],
        steps_done=[steps[-1].number for _, steps in batch],
        steps=[_encode_steps(steps) for _, steps in batch],
        exchanges=[pack([step.result.exchange for step in steps]) for _, steps in batch],
    )


async def end(on: Database | Session, batch: Sequence[Ended]) -> None:
    """End the attempts of *batch*; one that was overtaken, or has ended before, leaves its delivery alone.

    But if one that was overtaken has succeeded, its delivery is delivered.
    """
    batch = first_ends(batch)
    await on.execute(
        _Sql.finish,
        **end_columns(batch),
        states=[ended.state.value for ended in batch],
        pauses=sparse([None if ended.pause is None else ended.pause.total_seconds() for ended in batch]),
        reasons=sparse([_storable(ended.reason) for ended in batch]),
        uncounted=[ended.uncounted for ended in batch],
    )


def first_ends(batch: Sequence[Ended]) -> list[Ended]:
    """Return *batch* with one end of each attempt, the first one, in ascending order of signals."""
    once = {ended.due: ended for ended in reversed(batch)}  # an INSERT updates no row twice
    return sorted(once.values(), key=lambda ended: ended.due.signal_id)  # statements look from the first one on


def end_columns(batch: Sequence[Ended]) -> dict[str, Sequence[object]]:
    """Return what is stored of attempts that have ended, whatever that makes of their deliveries."""
    return {
        "signal_ids": [ended.due.signal_id for ended in batch],
        "subscription_ids": [ended.due.subscription_id for ended in batch],
        "numbers": [ended.due.attempt for ended in batch],
        "started_at": [ended.started_at for ended in batch],
        "durations": [ended.duration.total_seconds() for ended in batch],
        "outcomes": [ended.result.outcome.value for ended in batch],
        "statuses": sparse([ended.result.status for ended in batch]),
        "errors": sparse([_storable(ended.result.error) for ended in batch]),
        "excerpts": sparse([_storable(ended.result.excerpt) for ended in batch]),
        "steps_done": [ended.steps_done for ended in batch],
        "steps": sparse([_encode_steps(ended.steps) if ended.steps else None for ended in batch]),
        "exchanges": [
            pack([step.result.exchange for step in ended.steps] or [ended.result.exchange]) for ended in batch
        ],
    }


async def cancel(on: Database | Session, due: DueAttempt) -> None:
    """Cancel a delivery whose subscription was deleted."""
    await on.execute(_Sql.cancel, signal_id=due.signal_id, subscription_id=due.subscription_id, reason=DELETED)


def _encode_steps(steps: Sequence[Step]) -> str:
    return json.dumps([_step_columns(step) for step in steps])


def _step_columns(step: Step) -> dict[str, object]:
    return {
        "step": step.number,
        "startedAt": None if step.started_at is None else step.started_at.isoformat(),
        "duration": step.duration.total_seconds(),
        "outcome": step.result.outcome.value,
        "status": step.result.status,
        "error": _storable(step.result.error),
        "excerpt": _storable(step.result.excerpt),
    }


def read_claimed(due: DueAttempt, row: Row, read: Callable[[Row], Subscription] = read_subscription) -> Claimed:
    """Return the attempt that was begun, from a row of `begin` or of `hand_on`; *read* reads its subscription."""
    subscription = read(row["subscription"])
    return Claimed(
        due=due,
        signal=read_signal(row),
        subscription=subscription,
        secrets=read_secrets(row),
        signing_keys=tuple(row["signing_keys"] or ()),
        owed_at=row["owed_at"],
        uncounted=row["redriven"],
        in_group=row["in_group"],
        step=min(row["steps_done"], len(subscription.spec.targets) - 1),
    )


def read_secrets(row: Row) -> tuple[bytes, ...]:
    """Return what signs a webhook as ``v1``: the secret of a subscription, and during a rotation the one before it."""
    return tuple(secret for secret in (row["subscription"]["secret"], row["previous_secret"]) if secret)


def _storable(text: str | None) -> str | None:
    """Return *text* as PostgreSQL takes it: one odd character must not cost a whole batch of attempts."""
    return None if text is None else text.replace("\x00", "").encode(errors="replace").decode()[:2000]
