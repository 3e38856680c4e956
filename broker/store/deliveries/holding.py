"""Holding back: deliveries that the deliverers could not begin soon wait in PostgreSQL, and not in a queue.

What limits their subscription anyway brings them back: its rate reservations, its concurrency slots, or else its share
of the deliverers' attempts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from broker.deliveries import DeliveryState, DueAttempt, Reason
from broker.store.deliveries.admission import lock_admission
from broker.store.deliveries.owing import NewDelivery
from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import Statement, Statements
from broker.subscriptions import Subscription

HasRoom = Callable[[Subscription], bool]
"""Whether one more attempt of a subscription may go to its queue now; if so, it takes the room."""
HeldBack = tuple[int, Reason]
"""A subscription, and what some of its deliveries wait for."""

_REASONS = (Reason.RATE, Reason.IN_FLIGHT, Reason.SHARE)


class _Sql(Statements, file="holding.sql"):
    find: Statement
    note: Statement


NEEDED_TO_RECORD = _Sql.every()
"""What a recording carries out."""


class Room:
    """The room for first attempts, as *has_room* tells it; what is given back can be taken again."""

    def __init__(self, has_room: HasRoom) -> None:
        self._has_room = has_room
        self._given_back: Counter[int] = Counter()

    def take(self, subscription: Subscription) -> bool:
        """Return whether there is room for one more attempt of *subscription*; it is taken then."""
        if self._given_back[subscription.id]:
            self._given_back[subscription.id] -= 1
            return True
        return self._has_room(subscription)

    def give_back(self, attempts: Iterable[DueAttempt]) -> None:
        """Give back the room that was taken for *attempts*."""
        self._given_back.update(attempt.subscription_id for attempt in attempts)


def always(_: Subscription) -> bool:
    """Return that there is room."""
    return True


def hold_back(delivery: NewDelivery, subscription: Subscription, has_room: HasRoom) -> NewDelivery:
    """Return *delivery*, parked if it is pending and there is no room for it."""
    if delivery.state is not DeliveryState.PENDING or has_room(subscription):
        return delivery
    return replace(delivery, state=DeliveryState.PARKED, reason=_reason(subscription))


def is_held_back(delivery: NewDelivery) -> bool:
    """Return whether *delivery* is parked because there is no room for it."""
    return delivery.reason in _REASONS


async def find_held_back(session: Session, signal_ids: Collection[int]) -> frozenset[HeldBack]:
    """Return whose deliveries of recorded signals are held back."""
    rows = await session.fetch(_Sql.find, signal_ids=signal_ids, reasons=[reason.value for reason in _REASONS])
    return frozenset((row["subscription_id"], Reason(row["reason"])) for row in rows)


async def note_held_back(database: Database, held_back: Collection[HeldBack]) -> None:
    """Note that subscriptions have deliveries that wait: what is not noted is not brought back.

    The deliveries are committed before, because who brings the last ones back takes the note away.
    """
    ids = sorted({subscription_id for subscription_id, _ in held_back})
    async with database.transaction() as session:
        await lock_admission(session, ids)
        await session.execute(
            _Sql.note,
            subscription_ids=ids,
            rate=[(key, Reason.RATE) in held_back for key in ids],
            in_flight=[(key, Reason.IN_FLIGHT) in held_back for key in ids],
            share=[(key, Reason.SHARE) in held_back for key in ids],
        )


def _reason(subscription: Subscription) -> Reason:
    if subscription.spec.max_per_second is not None:
        return Reason.RATE
    return Reason.SHARE if subscription.spec.max_in_flight is None else Reason.IN_FLIGHT
