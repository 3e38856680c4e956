"""Recordings: each records signals and their deliveries in one transaction."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from broker.deliveries import DELETED, EXPIRED, DeliveryState, DueAttempt, Reason
from broker.names import is_pattern
from broker.offloading import Offloader
from broker.signals import Signal, SignalState
from broker.store.deliveries import ordering, owing
from broker.store.deliveries.ordering import advance_groups, assign_sequence, clear_pending_records, lock_keys
from broker.store.deliveries.owing import NewDelivery, consume, owe
from broker.store.postgres.database import Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_due_attempts
from broker.store.subscriptions import subscriptions
from broker.store.subscriptions.subscriptions import find_candidates
from broker.subscriptions import Subscription

_PAIR_BYTES = 50
"""Bytes of JSON that are read in about the time in which a signal and a subscription are matched: 10 us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one recording does.

    Args:
        pairs: How many pairs of a signal and a subscription one transaction matches: about half a second of work.
        rows: How many deliveries one statement inserts or returns.
    """

    pairs: int = 50_000
    rows: int = 5_000


class _Sql(Statements, file="recording.sql"):
    unrecorded: Statement
    insert_matches: Statement
    insert_signals: Statement
    unbegun: Statement


NEEDED = (
    *_Sql.every(),
    *owing.NEEDED_TO_RECORD,
    *ordering.NEEDED_TO_RECORD,
    *subscriptions.NEEDED_TO_RECORD,
)
"""What a recording carries out, this module's statements and those of others."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The outcome of a recording.

    Args:
        due_attempts: The attempts that may be made now.
        left: The signals that remain to be recorded.
        repeats: How many of the signals were recorded already.
    """

    due_attempts: Sequence[DueAttempt]
    left: Sequence[Signal]
    repeats: int = 0


class Overtaken(Exception):
    """Raised when another recorder recorded a signal of the batch just now; the recording has to be repeated."""


async def record(
    session: Session, batch: Mapping[int, Signal], *, rescue_after: timedelta, limits: Limits, offloader: Offloader
) -> Recorded:
    """Record as many signals of *batch*, in the order of their ids, as one transaction should.

    Raises:
        Overtaken: Another recorder recorded one of them just now.
    """
    keys = {key for signal in batch.values() if (key := signal.throw.ordering_key) is not None}
    await lock_keys(session, keys)
    new = await _unrecorded(session, batch)
    due_attempts = []
    if len(new) < len(batch):
        due_attempts = await _unbegun(session, [signal_id for signal_id in batch if signal_id not in new], limits.rows)
    signals = [signal for signal in batch.values() if signal.id in new]
    repeats = len(batch) - len(signals)
    if not signals:
        return Recorded(due_attempts, (), repeats)
    names = list({signal.throw.name for signal in signals})
    candidates = await find_candidates(session, names, signals[0].id, signals[-1].id)
    fits = max(1, limits.pairs // max(1, len(candidates)))
    signals, left = signals[:fits], signals[fits:]
    expired = {signal_id for signal_id, is_expired in new.items() if is_expired}
    matching = partial(_match, signals, candidates)
    matched = await _consume(session, await offloader.run(matching, size=_effort(signals, candidates)), expired)
    await _note(session, signals, matched)
    due_attempts += await _owe(session, matched, expired, rescue_after, limits.rows)
    if keys:
        await clear_pending_records(session, [signal.id for signal in signals])
        groups = await assign_sequence(session, keys)
        due_attempts += await advance_groups(session, groups, rescue_after=rescue_after)
    await _insert(session, signals)
    return Recorded(due_attempts, left, repeats)


async def _unrecorded(session: Session, batch: Mapping[int, Signal]) -> dict[int, bool]:
    """Return the ids of the signals that are not recorded yet, each with whether it has expired."""
    expiries = [signal.throw.expires_at for signal in batch.values()]
    rows = await session.fetch(_Sql.unrecorded, ids=list(batch), expiries=expiries)
    return {row["id"]: row["expired"] for row in rows}


async def _unbegun(session: Session, signal_ids: Sequence[int], limit: int) -> list[DueAttempt]:
    """Return the first attempts of recorded signals, as far as they are due and were not begun."""
    return read_due_attempts(await session.fetch(_Sql.unbegun, signal_ids=signal_ids, limit=limit))


async def _note(session: Session, signals: Sequence[Signal], matched: Sequence[tuple[Signal, Subscription]]) -> None:
    """Note that *signals* are recorded, and to which subscriptions they are owed.

    Raises:
        Overtaken: Another recorder has noted one of them.
    """
    owed: dict[int, list[int]] = {signal.id: [] for signal in signals}
    for signal, subscription in matched:
        owed[signal.id].append(subscription.id)
    rows = await session.fetch(
        _Sql.insert_matches, signal_ids=list(owed), subscription_ids=[json.dumps(ids) for ids in owed.values()]
    )
    if len(rows) < len(owed):
        raise Overtaken


async def _insert(session: Session, signals: Sequence[Signal]) -> None:
    throws = [signal.throw for signal in signals]
    await session.execute(
        _Sql.insert_signals,
        ids=[signal.id for signal in signals],
        created_at=[signal.created_at for signal in signals],
        names=[throw.name for throw in throws],
        scopes=[throw.scope.value for throw in throws],
        tenant_ids=[throw.tenant_id for throw in throws],
        execution_ids=[throw.execution_id for throw in throws],
        audiences=[None if throw.audience is None else json.dumps(throw.audience) for throw in throws],
        payloads=[throw.payload.decode() for throw in throws],
        types=[json.dumps(throw.types) for throw in throws],
        sources=[throw.source.value for throw in throws],
        source_ids=[throw.source_id for throw in throws],
        token_ids=[throw.token_id for throw in throws],
        business_keys=[throw.business_key for throw in throws],
        traceparents=[throw.traceparent for throw in throws],
        ordering_keys=[throw.ordering_key for throw in throws],
        deliver_at=[throw.deliver_at for throw in throws],
        expires_at=[throw.expires_at for throw in throws],
        states=[(SignalState.SCHEDULED if signal.is_scheduled else SignalState.RECORDED).value for signal in signals],
        due_at=[signal.throw.deliver_at if signal.is_scheduled else None for signal in signals],
    )


def _effort(signals: Sequence[Signal], candidates: Sequence[Subscription]) -> int:
    """Return how many bytes of JSON are read in about the time in which `_match` does its work."""
    filtered = any(candidate.spec.filter is not None for candidate in candidates)
    payloads = sum(len(signal.throw.payload) for signal in signals) if filtered else 0
    return payloads + _PAIR_BYTES * len(signals) * len(candidates)


def _match(signals: Sequence[Signal], candidates: Sequence[Subscription]) -> list[tuple[Signal, Subscription]]:
    """Return what matches."""
    patterns = [candidate for candidate in candidates if is_pattern(candidate.spec.name)]
    exact: dict[str, list[Subscription]] = defaultdict(list)
    for candidate in candidates:
        if not is_pattern(candidate.spec.name):
            exact[candidate.spec.name].append(candidate)
    matched = []
    for signal in signals:
        matching = [c for c in (*exact[signal.throw.name], *patterns) if c.mismatch(signal) is None]
        matched += [(signal, candidate) for candidate in matching]
        signal.context.forget()  # a parsed payload takes many times the memory of its text
    return matched


async def _consume(
    session: Session, matched: list[tuple[Signal, Subscription]], expired: Collection[int]
) -> list[tuple[Signal, Subscription]]:
    """Return what is owed: `once` subscriptions are consumed by the first signal that matches and can reach them.

    One that has *expired* is owed to them and cancelled, and consumes nothing.
    """
    first: dict[int, int] = {}
    for signal, subscription in matched:
        if subscription.spec.once and signal.id not in expired:
            first.setdefault(subscription.id, signal.id)
    if not first:
        return matched
    consumed = await consume(session, first)
    return [
        (signal, subscription)
        for signal, subscription in matched
        if not subscription.spec.once
        or signal.id in expired
        or (subscription.id in consumed and first[subscription.id] == signal.id)
    ]


async def _owe(
    session: Session,
    matched: Sequence[tuple[Signal, Subscription]],
    expired: Collection[int],
    rescue_after: timedelta,
    rows: int,
) -> list[DueAttempt]:
    due_attempts = []
    for start in range(0, len(matched), rows):
        deliveries = [_new_delivery(*match, expired) for match in matched[start : start + rows]]
        due_attempts += await owe(session, deliveries, rescue_after=rescue_after)
    return due_attempts


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
