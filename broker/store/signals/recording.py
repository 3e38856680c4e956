"""Recordings: each records signals and their deliveries in one transaction, or a chunk of those of a wide one."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from broker.deliveries import DELETED, EXPIRED, DeliveryState, DueAttempt, Reason
from broker.jsontext import write_fast
from broker.signals import Signal, SignalState
from broker.store.deliveries import holding, ordering, owing
from broker.store.deliveries.holding import HasRoom, HeldBack, Room, always, find_held_back, hold_back, is_held_back
from broker.store.deliveries.ordering import advance_groups, assign_sequence, clear_pending_records, lock_keys
from broker.store.deliveries.owing import NewDelivery, consume, dead_delivery, first_attempts, owe
from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import Statement, Statements, sparse
from broker.store.rows import read_due_attempts
from broker.store.signals import suspects, wide
from broker.store.signals.matches import Limits, Matches, Pairs, confirm
from broker.store.signals.wide import Chunk, put_off
from broker.store.subscriptions import candidates
from broker.subscriptions import Subscription


class _Sql(Statements, file="recording.sql"):
    unrecorded: Statement
    taken: Statement
    insert_matches: Statement
    insert_signals: Statement
    record_plain: Statement
    unbegun: Statement


NEEDED = (
    *_Sql.every(),
    *owing.NEEDED_TO_RECORD,
    *holding.NEEDED_TO_RECORD,
    *ordering.NEEDED_TO_RECORD,
    *candidates.NEEDED_TO_RECORD,
    *suspects.NEEDED_TO_RECORD,
    *wide.NEEDED_TO_RECORD,
)
"""What a recorder carries out, this module's statements and those of others."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The outcome of a recording.

    Args:
        due_attempts: The attempts that may be made now.
        left: The signals that remain to be recorded.
        repeats: How many of the signals were recorded already.
        exceeded: The deliveries that are dead because filters exceeded their budgets: each signal's and subscription's
            ids.
        waiting: How many more deliveries may go as soon as there is room for them.
        held_back: The subscriptions that have such deliveries, and what these wait for.
        begun: Wide signals, by their ids, of which chunks remain to be recorded.
        taken: The ids of the signals whose ids other signals have, which are recorded: they cannot be.
    """

    due_attempts: Sequence[DueAttempt]
    left: Sequence[Signal]
    repeats: int = 0
    exceeded: Sequence[tuple[int, int]] = ()
    waiting: int = 0
    held_back: frozenset[HeldBack] = frozenset()
    begun: frozenset[int] = frozenset()
    taken: frozenset[int] = frozenset()


class Overtaken(Exception):
    """Raised when another recorder recorded a signal of the batch, or a chunk, just now; it has to be repeated."""


async def record_matched(
    database: Database,
    matches: Matches,
    *,
    strictly: bool,
    rescue_after: timedelta,
    limits: Limits,
    room: Room,
    are_repeats: bool = False,
) -> Recorded:
    """Record the signals of *matches* in one statement if they are plain, and what that leaves in a transaction.

    *room*: for their first attempts. *are_repeats*: some of them may be recorded already, so that it has to be seen
    first which ones need room. The other arguments, and what is raised, are those of `record`.
    """
    plain = Recorded((), ())
    if _is_plain(matches, limits) and not are_repeats:
        plain, matches = await _record_plain(database, matches, rescue_after=rescue_after, room=room)
        if not matches.signals:
            return plain
    async with database.transaction() as session:
        recorded = await record(
            session, matches, strictly=strictly, rescue_after=rescue_after, limits=limits, has_room=room.take
        )
    return replace(
        recorded,
        due_attempts=[*plain.due_attempts, *recorded.due_attempts],
        waiting=plain.waiting + recorded.waiting,
        held_back=plain.held_back | recorded.held_back,
    )


def _is_plain(matches: Matches, limits: Limits) -> bool:
    """Return whether the signals of *matches* take no more than their own rows, which `_record_plain` inserts.

    Then nothing depends on what others do meanwhile: on the order of a group, on who consumes a subscription, or on the
    time.
    """
    return (
        not (matches.wide or matches.exceeded or len(matches.matching) > limits.rows)
        and all(
            throw.ordering_key is None and throw.expires_at is None and throw.deliver_at is None
            for throw in (signal.throw for signal in matches.signals)
        )
        and not any(one.spec.once or one.until is not None for _, one in matches.matching)
    )


async def _record_plain(
    database: Database, matches: Matches, *, rescue_after: timedelta, room: Room
) -> tuple[Recorded, Matches]:
    """Record the signals of *matches*, which are plain, in one statement.

    Those that it does not record are returned, too: they, or what they match, need a closer look. Their *room* is
    given back.
    """
    signals = matches.signals
    matched = {subscription.id: subscription for _, subscription in matches.matching}
    deliveries = [hold_back(_new_delivery(*pair, ()), pair[1], room.take) for pair in matches.matching]
    rows = await database.fetch(
        _Sql.record_plain,
        subscription_ids=list(matched),
        versions=[matches.versions[subscription_id] for subscription_id in matched],
        owed_to=_owed_to(signals, matches.matching),
        owing_ids=[delivery.signal_id for delivery in deliveries],
        owed_ids=[delivery.subscription_id for delivery in deliveries],
        apps=[delivery.app for delivery in deliveries],
        reasons=sparse([delivery.reason for delivery in deliveries]),
        rescue_after=rescue_after.total_seconds(),
        **_columns(signals),
    )
    recorded = {row["signal_id"] for row in rows}
    if len(recorded) < len(signals):
        room.give_back(first_attempts([one for one in deliveries if one.signal_id not in recorded]))
        deliveries = [one for one in deliveries if one.signal_id in recorded]
    waiting, held_back = _find_waiting(deliveries)
    left = matches.only({signal.id for signal in signals} - recorded)
    return Recorded(first_attempts(deliveries), matches.left, waiting=waiting, held_back=held_back), left


async def record(
    session: Session,
    matches: Matches,
    *,
    strictly: bool,
    rescue_after: timedelta,
    limits: Limits,
    has_room: HasRoom = always,
) -> Recorded:
    """Record the signals of *matches*; *strictly*: as for `confirm`; *has_room*: as for `SignalStore.record`.

    Raises:
        Overtaken: Another recorder recorded one of them just now.
        Outdated: What they match has changed.
    """
    batch = {signal.id: signal for signal in matches.signals}
    keys = {key for signal in batch.values() if (key := signal.throw.ordering_key) is not None}
    await lock_keys(session, keys)
    new = await _unrecorded(session, batch)
    due_attempts, held_back, begun, taken = [], frozenset[HeldBack](), frozenset[int](), frozenset[int]()
    if len(new) < len(batch):
        taken = await find_taken(session, [signal for signal in batch.values() if signal.id not in new])
        in_chunks = await wide.find_wide(session, [signal_id for signal_id in batch if signal_id not in new])
        begun = frozenset(signal_id for signal_id, finished in in_chunks.items() if not finished)
        known = [signal_id for signal_id in batch if signal_id not in new and signal_id not in in_chunks]
        due_attempts = await _unbegun(session, known, limits.rows)
        held_back = await find_held_back(session, known)
    repeats = len(batch) - len(new) - len(taken)
    if not new:
        return Recorded(due_attempts, matches.left, repeats, held_back=held_back, begun=begun, taken=taken)
    expired = {signal_id for signal_id, is_expired in new.items() if is_expired}
    matches = await confirm(session, matches.only(new), strictly=strictly)
    signals = matches.signals
    matching = await _consume(session, matches.matching, expired)
    owed = [*matching, *matches.exceeded]
    await _note(session, signals, owed)
    if matches.wide:
        deliveries = [put_off(_new_delivery(*pair, expired), pair[0]) for pair in matching]
        await wide.begin(session, signals[0], everything=matches.everything)
        begun = frozenset(new)
    else:
        deliveries = [hold_back(_new_delivery(*pair, expired), pair[1], has_room) for pair in matching]
    deliveries += [_dead_or_cancelled(*pair, expired) for pair in matches.exceeded]
    due_attempts += await _owe(session, deliveries, rescue_after, limits.rows)
    if keys and not matches.wide:
        await clear_pending_records(session, [signal.id for signal in signals])
        by_id = {subscription.id: subscription for _, subscription in matching}
        groups = await assign_sequence(session, keys)  # the scheduler advances those without room
        groups = {group for group in groups if group[0] not in by_id or has_room(by_id[group[0]])}
        due_attempts += await advance_groups(session, groups, rescue_after=rescue_after)
    await session.execute(_Sql.insert_signals, **_columns(signals))
    dead = [(one.signal_id, one.subscription_id) for one in deliveries if one.state is DeliveryState.DEAD]
    waiting, newly_held_back = _find_waiting(deliveries)
    held_back |= newly_held_back
    return Recorded(due_attempts, matches.left, repeats, dead, waiting, held_back, begun, taken)


async def record_chunk(
    session: Session, signal: Signal, chunk: Chunk, *, strictly: bool, rescue_after: timedelta
) -> Recorded:
    """Record a *chunk* of a wide *signal*; *strictly*: as for `confirm`.

    Raises:
        Overtaken: Another recorder recorded it just now.
        Outdated: What the subscriptions of the chunk ask for has changed.
    """
    expired = {signal.id} if chunk.is_expired else set[int]()
    matches = await confirm(session, chunk.special, strictly=strictly)
    matching = await _consume(session, matches.matching, expired)
    ids = [subscription.id for _, subscription in (*matching, *matches.exceeded)]
    known = await wide.lock(session, signal, chunk, ids)
    if known is None:
        raise Overtaken
    deliveries = [put_off(_new_delivery(*pair, expired), signal) for pair in matching if pair[1].id not in known]
    deliveries += [_dead_or_cancelled(*pair, expired) for pair in matches.exceeded if pair[1].id not in known]
    count = await wide.record_chunk(session, signal, chunk, deliveries, rescue_after=rescue_after)
    dead = [(one.signal_id, one.subscription_id) for one in deliveries if one.state is DeliveryState.DEAD]
    is_last = chunk.last_id is None
    if is_last and signal.throw.ordering_key is not None:
        await clear_pending_records(session, [signal.id])  # the scheduler settles its ordering groups
    begun = frozenset[int]() if is_last else frozenset({signal.id})
    return Recorded((), (), exceeded=dead, waiting=count, begun=begun)


async def _unrecorded(session: Session, batch: Mapping[int, Signal]) -> dict[int, bool]:
    """Return the ids of the signals that are not recorded yet, each with whether it has expired."""
    expiries = sparse([signal.throw.expires_at for signal in batch.values()])
    rows = await session.fetch(_Sql.unrecorded, ids=list(batch), expiries=expiries)
    return {row["id"]: row["expired"] for row in rows}


async def find_taken(reader: Database | Session, signals: Sequence[Signal]) -> frozenset[int]:
    """Return the ids of those *signals* that are no repeats: another signal with that id is recorded."""
    rows = await reader.fetch(
        _Sql.taken,
        ids=[signal.id for signal in signals],
        names=[signal.throw.name for signal in signals],
        created_at=[signal.created_at for signal in signals],
    )
    return frozenset(row["id"] for row in rows)


async def _unbegun(session: Session, signal_ids: Sequence[int], limit: int) -> list[DueAttempt]:
    """Return the first attempts of recorded signals, as far as they are due and were not begun."""
    return read_due_attempts(await session.fetch(_Sql.unbegun, signal_ids=signal_ids, limit=limit))


async def _note(session: Session, signals: Sequence[Signal], matched: Pairs) -> None:
    """Note that *signals* are recorded, and to which subscriptions they are owed.

    Raises:
        Overtaken: Another recorder has noted one of them.
    """
    rows = await session.fetch(
        _Sql.insert_matches, signal_ids=[signal.id for signal in signals], subscription_ids=_owed_to(signals, matched)
    )
    if len(rows) < len(signals):
        raise Overtaken


def _owed_to(signals: Sequence[Signal], matched: Pairs) -> list[str]:
    """Return the ids of the subscriptions that each of *signals* is owed to, as a JSON list."""
    owed: dict[int, list[int]] = {signal.id: [] for signal in signals}
    for signal, subscription in matched:
        owed[signal.id].append(subscription.id)
    return [write_fast(ids) for ids in owed.values()]


def _columns(signals: Sequence[Signal]) -> dict[str, list[Any]]:
    """Return the columns of the rows of *signals*, as the statements name them that insert them."""
    throws = [signal.throw for signal in signals]
    return {
        "ids": [signal.id for signal in signals],
        "created_at": [signal.created_at for signal in signals],
        "names": [throw.name for throw in throws],
        "scopes": [throw.scope.value for throw in throws],
        "tenant_ids": sparse([throw.tenant_id for throw in throws]),
        "execution_ids": sparse([throw.execution_id for throw in throws]),
        "audiences": sparse([None if throw.audience is None else json.dumps(throw.audience) for throw in throws]),
        "payloads": [throw.payload.decode() for throw in throws],
        "types": [write_fast(throw.types) if throw.types else "{}" for throw in throws],
        "sources": [throw.source.value for throw in throws],
        "source_ids": sparse([throw.source_id for throw in throws]),
        "token_ids": sparse([throw.token_id for throw in throws]),
        "business_keys": sparse([throw.business_key for throw in throws]),
        "traceparents": sparse([None if throw.trace is None else throw.trace.traceparent for throw in throws]),
        "tracestates": sparse([None if throw.trace is None else throw.trace.tracestate for throw in throws]),
        "ordering_keys": sparse([throw.ordering_key for throw in throws]),
        "deliver_at": sparse([throw.deliver_at for throw in throws]),
        "expires_at": sparse([throw.expires_at for throw in throws]),
        "states": [
            (SignalState.SCHEDULED if signal.is_scheduled else SignalState.RECORDED).value for signal in signals
        ],
        "due_at": sparse([signal.throw.deliver_at if signal.is_scheduled else None for signal in signals]),
        "hops": [throw.hops for throw in throws],
    }


async def _consume(session: Session, matched: Pairs, expired: Collection[int]) -> Pairs:
    """Return what is owed; `once` subscriptions are consumed by the first of the signals that match and can reach them.

    One that has *expired* is owed to them and cancelled, and consumes nothing.
    """
    first: dict[int, Signal] = {}
    for signal, subscription in matched:
        if subscription.spec.once and signal.id not in expired:
            first.setdefault(subscription.id, signal)
    if not first:
        return matched
    consumed = await consume(session, first)
    return [
        (signal, subscription)
        for signal, subscription in matched
        if not subscription.spec.once
        or signal.id in expired
        or (subscription.id in consumed and first[subscription.id].id == signal.id)
    ]


async def _owe(
    session: Session, deliveries: Sequence[NewDelivery], rescue_after: timedelta, rows: int
) -> list[DueAttempt]:
    due_attempts = []
    for start in range(0, len(deliveries), rows):
        due_attempts += await owe(session, deliveries[start : start + rows], rescue_after=rescue_after)
    return due_attempts


def _find_waiting(deliveries: Sequence[NewDelivery]) -> tuple[int, frozenset[HeldBack]]:
    """Return how many of *deliveries* have no room yet, and whose they are."""
    waiting = [one for one in deliveries if is_held_back(one)]
    return len(waiting), frozenset((one.subscription_id, Reason(one.reason or "")) for one in waiting)


def _new_delivery(signal: Signal, subscription: Subscription, expired: Collection[int]) -> NewDelivery:
    """Return the delivery of *signal* to *subscription* in its first state."""
    key = signal.throw.ordering_key if subscription.spec.ordered else None
    state, reason, due_at = DeliveryState.PENDING, None, None
    if subscription.until is not None:  # deleted after the signal was accepted: owed all the same, and cancelled
        state, reason = DeliveryState.CANCELLED, DELETED
    elif signal.id in expired:
        state, reason = DeliveryState.CANCELLED, EXPIRED
    elif signal.is_scheduled:
        state, reason, due_at = DeliveryState.PARKED, Reason.SCHEDULED, signal.throw.deliver_at
    elif key is not None:
        state, reason = DeliveryState.PARKED, Reason.ORDERED
    return NewDelivery(
        signal_id=signal.id,
        subscription_id=subscription.id,
        state=state,
        reason=reason,
        due_at=due_at,
        ordering_key=key,
        app=subscription.spec.target.app,
        expires_at=signal.throw.expires_at,
    )


def _dead_or_cancelled(signal: Signal, subscription: Subscription, expired: Collection[int]) -> NewDelivery:
    """Return the delivery of *signal* to *subscription*, whose filter exceeded its budget, in its first state."""
    delivery = _new_delivery(signal, subscription, expired)
    return delivery if delivery.state is DeliveryState.CANCELLED else dead_delivery(signal, subscription)
