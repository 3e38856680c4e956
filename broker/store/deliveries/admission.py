"""Gates in PostgreSQL: what keeps limits, pauses and circuits over all deliverers.

Whoever decides on deliveries of a subscription has locked its gate, so decisions about one subscription come one after
the other. What the decision is, is up to `broker.admission`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from broker.admission import GRACE, Gate, Pass, Refusal
from broker.circuits import Phase, is_up
from broker.deliveries import GONE, DeliveryState, DueAttempt, Outcome, Reason
from broker.limits import ConcurrencySlots, Rate
from broker.store.deliveries.circuits import judge_circuits, lock_circuits, save_circuits
from broker.store.deliveries.deliveries import Claimed, Ended, begin, end
from broker.store.deliveries.ordering import move_on
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import load
from broker.store.rows import read_due, read_subscription
from broker.subscriptions import Kind, Subscription

_SQL = load("broker.store.deliveries", "admission")
_LIMIT = 1000
"""How many deliveries may go at most when room was made for them."""

Asked = tuple[DueAttempt, bool]
"""An attempt that is asked for, and whether its message was handed out before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What the end of an attempt brought about.

    Args:
        due_attempts: Attempts that may be made now, because it made room for them, or it is their turn.
        disabled: Whether it disabled its subscription.
        circuit: What became of its target's circuit, if it changed.
    """

    due_attempts: Sequence[DueAttempt] = ()
    disabled: bool = False
    circuit: Phase | None = None


class AdmissionStore:
    """Decides what may go, and puts right what it held when it has ended."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(
        self, batch: Sequence[Asked], *, timeout: timedelta, grace: timedelta
    ) -> list[Claimed | Refusal | None]:
        """Begin those attempts of *batch* that may go, and park the others; None stands for one that is out of date.

        The arguments are those of `broker.store.deliveries.deliveries.DeliveryStore.claim`.
        """
        asked: dict[DueAttempt, bool] = {}
        for due, again in batch:
            asked[due] = again or asked.get(due, False)
        async with self._database.transaction() as session:
            rows = await session.fetch(_SQL.lock, sorted({due.subscription_id for due in asked}))
            states = {row["subscription_id"]: row for row in rows}
            decided = await _decide(session, asked, states, timeout)
            refused = {due: verdict for due, verdict in decided.items() if isinstance(verdict, Refusal)}
            await _refuse(session, refused)
            passed = {due: verdict for due, verdict in decided.items() if isinstance(verdict, Pass)}
            begun = [(due, asked[due]) for due in passed]
            claimed = await begin(session, begun, timeout=timeout, grace=grace, admitted=True) if begun else []
            through = [replace(one, passed=passed[one.due]) for one in claimed if one is not None]
            await _take_places(session, through, timeout)
        answers: dict[DueAttempt, Claimed | Refusal] = refused | {one.due: one for one in through}
        # Popped, so that of two messages for one attempt in the same batch only the first begins it.
        return [answers.pop(due, None) for due, _ in batch]

    async def finish(self, batch: Sequence[Ended], *, rescue_after: timedelta) -> list[Finished]:
        """End the attempts of *batch*, and put right what they held: places, circuits, lines.

        An attempt that was overtaken leaves the delivery's state alone. *rescue_after*: when the message of a delivery
        that may go now can be given up for lost.
        """
        async with self._database.transaction() as session:
            placed = sorted({ended.due.subscription_id for ended in batch if ended.passed.place})
            gone = {ended.due.subscription_id for ended in batch if ended.result.outcome is Outcome.GONE}
            rows = await session.fetch(_SQL.lock, sorted({*placed, *gone}))
            changed = await judge_circuits(session, batch)
            disabled = await _disable(session, gone)
            await end(session, batch)
            held = [row["subscription_id"] for row in rows if row["held"] and row["subscription_id"] in placed]
            promoted = await _leave_places(session, batch, held, rescue_after)
            over = [(ended.due.signal_id, ended.due.subscription_id) for ended in batch if ends_turn(ended)]
            promoted += await move_on(session, over, rescue_after=rescue_after)
        due_attempts: dict[int, list[DueAttempt]] = {}
        for due in promoted:
            due_attempts.setdefault(due.subscription_id, []).append(due)
        # Popped, so that of several attempts only the first brought it about.
        return [
            Finished(
                due_attempts=due_attempts.pop(ended.due.subscription_id, ()),
                disabled=disabled.pop(ended.due.subscription_id, False),
                circuit=changed.get(position),
            )
            for position, ended in enumerate(batch)
        ]


def _lease(subscription: Subscription, timeout: timedelta) -> timedelta:
    """Return how long an attempt may keep what it was given, if nobody says that it has ended."""
    return (subscription.spec.timeout or timeout) * len(subscription.spec.targets) + GRACE


async def _decide(
    session: Session, asked: Mapping[DueAttempt, bool], states: Mapping[int, Row], timeout: timedelta
) -> dict[DueAttempt, Pass | Refusal]:
    """Decide on those of the attempts *asked* for that are still due; keep what that changes of gates and circuits."""
    rows = await session.fetch(_SQL.asked, *_keys(asked), [due.attempt for due in asked], list(asked.values()))
    subscriptions: dict[int, Subscription] = {}
    for row in rows:
        if row["subscription_id"] not in subscriptions:
            subscriptions[row["subscription_id"]] = read_subscription(row["subscription"])
    places = await _read_places(session, subscriptions.values(), [row["signal_id"] for row in rows])
    gates = {
        key: Gate(subscription, places.get(key), _read_rate(subscription, states[key]))
        for key, subscription in subscriptions.items()
    }
    addresses = [_address(subscriptions[row["subscription_id"]], row["steps_done"]) for row in rows]
    circuits = await lock_circuits(session, addresses)
    due_attempts = {(due.signal_id, due.subscription_id, due.attempt): due for due in asked}
    decided: dict[DueAttempt, Pass | Refusal] = {}
    probed = {}
    # Asked for in the order of the signals, so that the oldest get the first slots and places.
    for row, address in zip(rows, addresses, strict=True):
        gate, circuit = gates[row["subscription_id"]], None if address is None else circuits.get(address)
        verdict = gate.admit(
            row["signal_id"],
            circuit,
            paid=row["reason"] == Reason.RATE,
            now=row["now"],
            until=row["now"] + _lease(gate.subscription, timeout),
        )
        if isinstance(verdict, Pass) and verdict.probe and address is not None and circuit is not None:
            probed[address] = circuit
        decided[due_attempts[row["signal_id"], row["subscription_id"], row["attempt"]]] = verdict
    await save_circuits(session, probed)
    await _save_gates(session, gates, states, decided)
    return decided


def _keys(due_attempts: Iterable[DueAttempt]) -> tuple[list[int], list[int]]:
    """Return the dues' signals and subscriptions."""
    pairs = [(due.signal_id, due.subscription_id) for due in due_attempts]
    return [signal_id for signal_id, _ in pairs], [subscription_id for _, subscription_id in pairs]


def _address(subscription: Subscription, steps_done: int) -> str | None:
    """Return the webhook that the next attempt calls, if it is one."""
    targets = subscription.spec.targets
    target = targets[min(steps_done, len(targets) - 1)]
    return target.address if target.kind is Kind.WEBHOOK else None


def _read_rate(subscription: Subscription, state: Row) -> Rate | None:
    per_second = subscription.spec.max_per_second
    return None if per_second is None else Rate(per_second, state["slot_at"], state["spent_at"])


async def _read_places(
    session: Session, subscriptions: Iterable[Subscription], signal_ids: Collection[int]
) -> dict[int, ConcurrencySlots]:
    limits = {s.id: s.spec.max_in_flight for s in subscriptions if s.spec.max_in_flight is not None}
    places = {key: ConcurrencySlots(limit, 0, set()) for key, limit in limits.items()}
    if places:
        for row in await session.fetch(_SQL.places, list(places), signal_ids):
            key = row["subscription_id"]
            places[key] = ConcurrencySlots(limits[key], row["taken"], set(row["own"] or ()))
    return places


async def _save_gates(
    session: Session, gates: Mapping[int, Gate], states: Mapping[int, Row], decided: Mapping[DueAttempt, Pass | Refusal]
) -> None:
    holding = {
        due.subscription_id
        for due, verdict in decided.items()
        if isinstance(verdict, Refusal) and not verdict.final and verdict.due_at is None
    }
    changed = {key: gate.rate for key, gate in gates.items() if gate.rate is not None or key in holding}
    if changed:
        await session.execute(
            _SQL.save,
            list(changed),
            [states[key]["slot_at"] if rate is None else rate.slot_at for key, rate in changed.items()],
            [states[key]["spent_at"] if rate is None else rate.spent_at for key, rate in changed.items()],
            [key in holding for key in changed],
        )


async def _refuse(session: Session, refused: Mapping[DueAttempt, Refusal]) -> None:
    parked = {due: refusal for due, refusal in refused.items() if not refusal.final}
    dead = {due: refusal for due, refusal in refused.items() if refusal.final}
    if parked:
        await session.execute(
            _SQL.park,
            *_keys(parked),
            [due.attempt for due in parked],
            [refusal.due_at for refusal in parked.values()],
            [str(refusal.reason) for refusal in parked.values()],
        )
    if dead:
        await session.execute(
            _SQL.bury,
            *_keys(dead),
            [due.attempt for due in dead],
            [str(refusal.reason) for refusal in dead.values()],
        )
    if refused:
        await session.execute(_SQL.leave_places, *_keys(refused))


async def _take_places(session: Session, through: Iterable[Claimed], timeout: timedelta) -> None:
    leases = {one.due: _lease(one.subscription, timeout) for one in through if one.passed.place}
    if leases:
        await session.execute(_SQL.take_places, *_keys(leases), list(leases.values()))


async def lock_admission(session: Session, subscription_ids: Collection[int]) -> None:
    """Lock the admission of these subscriptions until the end of the transaction."""
    await session.fetch(_SQL.lock, subscription_ids)


async def note_waiting(session: Session, subscription_id: int) -> None:
    """Note that a subscription may have deliveries for the sweep to look at."""
    await session.execute(_SQL.hold, subscription_id)


async def forget_reservations(session: Session, subscription_id: int) -> None:
    """Forget the moments reserved so far, so that new deliveries do not wait behind them; its admission is locked."""
    await session.execute(_SQL.forget_slots, subscription_id)


def concerns_gate(ended: Ended) -> bool:
    """Return whether the end of an attempt concerns more than its delivery."""
    return (
        ended.passed.place
        or ended.passed.circuit
        or ends_turn(ended)
        or ended.result.outcome is Outcome.GONE
        or (ended.address is not None and is_up(ended.result) is False)
    )


def ends_turn(ended: Ended) -> bool:
    """Return whether the next delivery of the same line may go now."""
    return ended.in_line and ended.state is not DeliveryState.PARKED


async def _disable(session: Session, gone: Collection[int]) -> dict[int, bool]:
    """Disable subscriptions; return those that were not disabled before."""
    rows = await session.fetch(_SQL.disable, sorted(gone), GONE) if gone else []
    return {row["id"]: True for row in rows}


async def _leave_places(
    session: Session, batch: Sequence[Ended], held: Sequence[int], rescue_after: timedelta
) -> list[DueAttempt]:
    """Free the places of the attempts that ended; return what may go in their stead."""
    placed = [ended.due for ended in batch if ended.passed.place]
    if placed:
        await session.execute(_SQL.leave_places, *_keys(placed))
    if not held:
        return []
    return read_due(await session.fetch(_SQL.promote, held, _LIMIT, rescue_after.total_seconds()))
