"""Admission in PostgreSQL: limits, pauses and circuits hold over all deliverers.

A session that decides on deliveries of a subscription has locked the subscription's admission, so decisions about one
subscription come one after the other. `broker.admission` makes the decision.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.admission import LEASE_GRACE, AdmissionControl, Admitted, Deferred, Denied
from broker.deliveries import GONE, DueAttempt, Reason
from broker.limits import ConcurrencySlots, Rate
from broker.store.deliveries.attempts import (
    AttemptRequest,
    Claimed,
    Oversized,
    UnderWay,
    begin,
    interrupt,
)
from broker.store.deliveries.circuits import TargetKey, lock_circuits, save_circuits
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_due_attempts, read_subscription
from broker.subscriptions import Subscription

_SWEPT = (Reason.PAUSED, Reason.IN_FLIGHT)
"""What the sweep of waiting deliveries looks at; reservations and circuits are looked at by their own."""

Decision = Admitted | Deferred | Denied | Oversized | UnderWay


class _Sql(Statements, file="admission.sql"):
    lock: Statement
    lock_free: Statement
    candidates: Statement
    count_slots: Statement
    take_slots: Statement
    free_slots: Statement
    admit_waiting: Statement
    park: Statement
    bury: Statement
    save: Statement
    note_waiting: Statement
    note_recall: Statement
    disable: Statement


NEEDED_TO_DELIVER = _Sql.every()
"""What deliverers carry out."""


async def lock_admission(session: Session, subscription_ids: Collection[int]) -> dict[int, Row]:
    """Lock the admission of subscriptions, in the order of their ids; return its rows by them."""
    rows = await session.fetch(_Sql.lock, subscription_ids=sorted(subscription_ids))
    return {row["subscription_id"]: row for row in rows}


async def lock_free_admission(session: Session, subscription_ids: Collection[int]) -> dict[int, Row]:
    """Lock the admission of those subscriptions for which no other session has; return its rows by them."""
    rows = await session.fetch(_Sql.lock_free, subscription_ids=sorted(subscription_ids))
    return {row["subscription_id"]: row for row in rows}


async def note_waiting(session: Session, subscription_id: int) -> None:
    """Note that a subscription may have deliveries for the sweep to look at."""
    await session.execute(_Sql.note_waiting, subscription_id=subscription_id)


async def note_recall(session: Session, subscription_ids: Collection[int]) -> None:
    """Let the sweep recall what is parked because of the targets of subscriptions whose admission is locked."""
    await session.execute(_Sql.note_recall, subscription_ids=list(subscription_ids))


async def admit_waiting(session: Session, limits: Mapping[int, int], *, rescue_after: timedelta) -> list[DueAttempt]:
    """Give free concurrency slots of subscriptions to deliveries that wait for them; return the attempts to make.

    Of each subscription these are at most as many as *limits* says.
    """
    rows = await session.fetch(
        _Sql.admit_waiting,
        subscription_ids=list(limits),
        limits=list(limits.values()),
        rescue_after=rescue_after.total_seconds(),
    )
    return read_due_attempts(rows)


async def admit(
    database: Database,
    batch: Sequence[AttemptRequest],
    *,
    timeout: timedelta,
    rescue_after: timedelta,
    by: int | None,
    read: Callable[[Row], Subscription] = read_subscription,
) -> list[Claimed | Deferred | Denied | Oversized | UnderWay | None]:
    """Begin those attempts of *batch* that may go, and park or bury the others; None stands for outdated ones.

    Whether an `Oversized` one may go is decided once there is room for it.

    *timeout*, *rescue_after*, *by* and *read* are those of `broker.store.deliveries.attempts.begin`.
    """
    by_attempt: dict[DueAttempt, AttemptRequest] = {}
    for request in batch:
        other = by_attempt.get(request.due, request)
        by_attempt[request.due] = AttemptRequest(
            request.due, request.redelivered or other.redelivered, max(request.room, other.room)
        )
    requests = list(by_attempt.values())
    async with database.transaction() as session:
        states = await lock_admission(session, {due.subscription_id for due in by_attempt})
        redelivered = [request.due for request in requests if request.redelivered]
        if redelivered:
            await interrupt(session, redelivered, by=by)
        candidates = await _read_candidates(session, requests)
        decisions = await _decide(session, candidates, states, timeout)
        refused = {due: decision for due, decision in decisions.items() if not isinstance(decision, Admitted)}
        await _park(session, {due: one for due, one in refused.items() if isinstance(one, Deferred)})
        await _bury(session, {due: one for due, one in refused.items() if isinstance(one, Denied)})
        await free_slots(session, [due for due, one in refused.items() if isinstance(one, Deferred | Denied)])
        claimed = await _begin(
            session, candidates, decisions, timeout=timeout, rescue_after=rescue_after, by=by, read=read
        )
    answers: dict[DueAttempt, Claimed | Deferred | Denied | Oversized | UnderWay]
    answers = refused | {one.due: one for one in claimed}
    asked = {candidate.request.due: candidate.due for candidate in candidates}
    # Popped, so that of two messages for one attempt in the same batch only the first begins it.
    return [answers.pop(asked[request.due], None) if request.due in asked else None for request in batch]


class _Candidate(NamedTuple):
    """An attempt that is still due.

    Args:
        request: What asked for it.
        row: What decides whether it may go.
        due: The attempt, with the number that it has: another one, if the one asked for was interrupted.
    """

    request: AttemptRequest
    row: Row
    due: DueAttempt


async def _read_candidates(session: Session, requests: Sequence[AttemptRequest]) -> list[_Candidate]:
    """Return those of the requested attempts that are still due."""
    by_key = {
        (request.due.signal_id, request.due.subscription_id, request.due.attempt): request for request in requests
    }
    rows = await session.fetch(
        _Sql.candidates,
        **_keys(request.due for request in requests),
        numbers=[request.due.attempt for request in requests],
        redelivered=[request.redelivered for request in requests],
    )
    found = [(by_key[row["signal_id"], row["subscription_id"], row["asked"]], row) for row in rows]
    return [_Candidate(request, row, replace(request.due, attempt=row["number"])) for request, row in found]


async def _begin(
    session: Session,
    candidates: Sequence[_Candidate],
    decisions: Mapping[DueAttempt, Decision],
    *,
    timeout: timedelta,
    rescue_after: timedelta,
    by: int | None,
    read: Callable[[Row], Subscription],
) -> list[Claimed]:
    """Begin the attempts that are admitted, and let them take their concurrency slots."""
    admitted = {due: decision for due, decision in decisions.items() if isinstance(decision, Admitted)}
    if not admitted:
        return []
    asked = {candidate.due: candidate.request for candidate in candidates if candidate.due in admitted}
    batch = [request._replace(due=due) for due, request in asked.items()]
    begun = await begin(session, batch, timeout=timeout, rescue_after=rescue_after, admitted=True, by=by, read=read)
    claimed = [
        replace(one, admitted=admitted[one.due], again=one.due.attempt > asked[one.due].due.attempt)
        for one in begun
        if one is not None
    ]
    leases = {one.due: _lease(one.subscription, timeout) for one in claimed if one.admitted.slot}
    await take_slots(session, leases)
    return claimed


def _lease(subscription: Subscription, timeout: timedelta) -> timedelta:
    """Return how long an attempt may keep its concurrency slot, or its probe, if its end is never reported."""
    return (subscription.spec.timeout or timeout) * len(subscription.spec.targets) + LEASE_GRACE


async def _decide(
    session: Session, candidates: Sequence[_Candidate], states: Mapping[int, Row], timeout: timedelta
) -> dict[DueAttempt, Decision]:
    """Decide on attempts that are still due; store what that changes."""
    decisions: dict[DueAttempt, Decision] = {
        due: UnderWay() if row["under_way"] else Oversized(row["size"])
        for request, row, due in candidates
        if row["under_way"] or row["size"] > request.room
    }
    fitting = [(row, due) for _, row, due in candidates if due not in decisions]
    controls = await _read_controls(session, [row for row, _ in fitting], states)
    # In the order of the signals, so that the oldest get the first reservations and concurrency slots.
    wanted = [Wanted(due, controls[due.subscription_id], row["steps_done"], row["now"]) for row, due in fitting]
    decisions |= await admit_each(session, wanted, timeout)
    await _save(session, controls, states, decisions)
    return decisions


class Wanted(NamedTuple):
    """A call that is to be admitted.

    Args:
        due: Its attempt.
        control: What decides.
        step: The step that it makes, from 0.
        now: What the store's clock shows.
    """

    due: DueAttempt
    control: AdmissionControl
    step: int
    now: datetime


async def admit_each(
    session: Session, wanted: Sequence[Wanted], timeout: timedelta
) -> dict[DueAttempt, Admitted | Deferred | Denied]:
    """Decide on calls of subscriptions whose admission is locked, one after the other; store what circuits learn."""
    called = [_called(one.control.subscription, one.step) for one in wanted]
    circuits = await lock_circuits(session, (key for key in itertools.chain.from_iterable(called) if key is not None))
    known = {key: replace(circuit) for key, circuit in circuits.items()}
    decisions: dict[DueAttempt, Admitted | Deferred | Denied] = {}
    for (due, control, _, now), (first, *later) in zip(wanted, called, strict=True):
        circuit = None if first is None else circuits.get(first)
        decisions[due] = control.admit(
            due.signal_id,
            circuit,
            [circuits[one] for one in later if one in circuits],
            at=due.at,
            now=now,
            until=now + _lease(control.subscription, timeout),
        )
    await save_circuits(session, {key: circuit for key, circuit in circuits.items() if circuit != known[key]})
    return decisions


async def _read_controls(
    session: Session, rows: Sequence[Row], states: Mapping[int, Row]
) -> dict[int, AdmissionControl]:
    """Return what decides on the deliveries in *rows*, by their subscriptions."""
    subscriptions: dict[int, Subscription] = {}
    for row in rows:
        if row["subscription_id"] not in subscriptions:
            subscriptions[row["subscription_id"]] = read_subscription(row["subscription"])
    slots = await _read_slots(session, subscriptions.values(), [row["signal_id"] for row in rows])
    return {
        key: AdmissionControl(subscription, slots.get(key), _read_rate(subscription, states[key]))
        for key, subscription in subscriptions.items()
    }


def _keys(due_attempts: Iterable[DueAttempt]) -> dict[str, list[int]]:
    """Return the deliveries' signals and subscriptions, as statements take them."""
    pairs = [(due.signal_id, due.subscription_id) for due in due_attempts]
    return {
        "signal_ids": [signal_id for signal_id, _ in pairs],
        "subscription_ids": [subscription_id for _, subscription_id in pairs],
    }


def _called(subscription: Subscription, steps_done: int) -> list[TargetKey | None]:
    """Return the targets that the next attempt calls, one after the other; None stands for one that is no webhook."""
    targets = subscription.spec.targets
    addresses = (target.circuit for target in targets[min(steps_done, len(targets) - 1) :])
    return [None if address is None else TargetKey(subscription.id, address) for address in addresses]


def _read_rate(subscription: Subscription, state: Row) -> Rate | None:
    per_second = subscription.spec.max_per_second
    return None if per_second is None else Rate(per_second, state["slot_at"], state["rate_waiting"])


async def _read_slots(
    session: Session, subscriptions: Iterable[Subscription], signal_ids: Collection[int]
) -> dict[int, ConcurrencySlots]:
    limits = {s.id: s.spec.max_in_flight for s in subscriptions if s.spec.max_in_flight is not None}
    slots = {key: ConcurrencySlots(limit, 0, set()) for key, limit in limits.items()}
    if slots:
        rows = await session.fetch(_Sql.count_slots, subscription_ids=list(slots), signal_ids=signal_ids)
        for row in rows:
            key = row["subscription_id"]
            slots[key] = ConcurrencySlots(limits[key], row["taken"], set(row["own"] or ()))
    return slots


async def _save(
    session: Session,
    controls: Mapping[int, AdmissionControl],
    states: Mapping[int, Row],
    decisions: Mapping[DueAttempt, Decision],
) -> None:
    """Store the reservations that were made, and which subscriptions have waiting deliveries now."""
    waiting = {
        due.subscription_id
        for due, decision in decisions.items()
        if isinstance(decision, Deferred) and decision.reason in _SWEPT
    }
    changed = {key: control.rate for key, control in controls.items() if control.rate is not None or key in waiting}
    if changed:
        await session.execute(
            _Sql.save,
            subscription_ids=list(changed),
            slot_at=[states[key]["slot_at"] if rate is None else rate.slot_at for key, rate in changed.items()],
            rate_waiting=[rate is not None and rate.waiting for rate in changed.values()],
            waiting=[key in waiting for key in changed],
        )


async def _park(session: Session, deferred: Mapping[DueAttempt, Deferred]) -> None:
    if deferred:
        await session.execute(
            _Sql.park,
            **_keys(deferred),
            numbers=[due.attempt for due in deferred],
            reasons=[one.reason.value for one in deferred.values()],
        )


async def _bury(session: Session, denied: Mapping[DueAttempt, Denied]) -> None:
    if denied:
        await session.execute(
            _Sql.bury,
            **_keys(denied),
            numbers=[due.attempt for due in denied],
            reasons=[one.reason for one in denied.values()],
        )


async def save_reservations(session: Session, subscription_id: int, slot_at: datetime) -> None:
    """Store the first moment that a subscription, whose admission is locked, has not reserved."""
    await session.execute(
        _Sql.save, subscription_ids=[subscription_id], slot_at=[slot_at], rate_waiting=[False], waiting=[False]
    )


async def take_slots(session: Session, leases: Mapping[DueAttempt, timedelta]) -> None:
    """Give deliveries concurrency slots of their subscriptions, for so long each."""
    if leases:
        await session.execute(_Sql.take_slots, **_keys(leases), leases=list(leases.values()))


async def count_slots(session: Session, subscription_id: int, *, besides: Collection[int]) -> int:
    """Return how many concurrency slots of a subscription are taken, *besides* those of the deliveries of signals."""
    row = await session.fetchrow(_Sql.count_slots, subscription_ids=[subscription_id], signal_ids=list(besides))
    return 0 if row is None else row["taken"] - len(row["own"] or ())


async def free_slots(session: Session, due_attempts: Collection[DueAttempt]) -> None:
    """Free the concurrency slots of deliveries, as far as they have any."""
    if due_attempts:
        await session.execute(_Sql.free_slots, **_keys(due_attempts))


async def disable_subscriptions(session: Session, gone: Collection[int]) -> set[int]:
    """Disable subscriptions whose targets are gone; return those that were not disabled before."""
    if not gone:
        return set()
    rows = await session.fetch(_Sql.disable, subscription_ids=sorted(gone), reason=GONE)
    return {row["id"] for row in rows}
