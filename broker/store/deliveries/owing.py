"""Owing: deliveries are inserted, by recordings and by replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.deliveries import EXCEEDED, DeliveryState, DueAttempt, Reason
from broker.signals import Signal
from broker.store.postgres.database import Session
from broker.store.postgres.statements import Statement, Statements, sparse
from broker.subscriptions import Subscription
from broker.topology import attempt_queue


class _Sql(Statements, file="owing.sql"):
    consume: Statement
    insert: Statement


NEEDED_TO_RECORD = _Sql.every()
"""What a recording carries out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A signal that is owed to a subscription from now on.

    Args:
        signal_id: The signal.
        subscription_id: The subscription.
        state: The delivery's first state.
        reason: Why it is parked, dead or cancelled, if it is.
        due_at: Until when it is parked, if it waits for a moment.
        ordering_key: The key of its ordering group, if it is in one.
        app: The app of the handler that it is owed to; empty if it is no handler.
        expires_at: When the signal expires, if it does.
    """

    signal_id: int
    subscription_id: int
    state: DeliveryState
    reason: Reason | str | None = None
    due_at: datetime | None = None
    ordering_key: str | None = None
    app: str = ""
    expires_at: datetime | None = None


def dead_delivery(signal: Signal, subscription: Subscription) -> NewDelivery:
    """Return the delivery of a signal for which the subscription's filter exceeded its budget.

    It is in no ordering group: the deliveries behind it do not wait for one that may not have matched.
    """
    return NewDelivery(
        signal_id=signal.id,
        subscription_id=subscription.id,
        state=DeliveryState.DEAD,
        reason=EXCEEDED,
        app=subscription.spec.target.app,
        expires_at=signal.throw.expires_at,
    )


async def owe(session: Session, deliveries: Sequence[NewDelivery], *, rescue_after: timedelta) -> list[DueAttempt]:
    """Insert *deliveries*; return the attempts at those that are pending."""
    await session.execute(
        _Sql.insert,
        signal_ids=[delivery.signal_id for delivery in deliveries],
        subscription_ids=[delivery.subscription_id for delivery in deliveries],
        states=[delivery.state.value for delivery in deliveries],
        reasons=sparse([delivery.reason for delivery in deliveries]),
        due_at=sparse([delivery.due_at for delivery in deliveries]),
        ordering_keys=sparse([delivery.ordering_key for delivery in deliveries]),
        apps=[delivery.app for delivery in deliveries],
        expires_at=sparse([delivery.expires_at for delivery in deliveries]),
        rescue_after=rescue_after.total_seconds(),
    )
    return first_attempts(deliveries)


def first_attempts(deliveries: Sequence[NewDelivery]) -> list[DueAttempt]:
    """Return the attempts at those of *deliveries* that are pending."""
    return [
        DueAttempt(delivery.signal_id, delivery.subscription_id, 1, attempt_queue(delivery.app))
        for delivery in deliveries
        if delivery.state is DeliveryState.PENDING
    ]


async def consume(session: Session, first: Mapping[int, Signal]) -> set[int]:
    """Let the *first* signal of each `once` subscription (by id) consume it; return those that it did consume."""
    rows = await session.fetch(
        _Sql.consume,
        subscription_ids=list(first),
        signal_ids=[signal.id for signal in first.values()],
        expires_at=[signal.throw.expires_at for signal in first.values()],
    )
    return {row["id"] for row in rows}
