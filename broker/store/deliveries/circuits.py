"""Circuits in PostgreSQL: each failing webhook of each subscription has its own, even if others share the URL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from broker.circuits import Circuit, Phase, asked_pause, is_up
from broker.store.deliveries.attempts import Ended
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.subscriptions import Subscription


class _Sql(Statements, file="circuits.sql"):
    lock: Statement
    create: Statement
    save: Statement
    end_probes: Statement
    drop: Statement
    of_subscriptions: Statement
    drop_of_subscription: Statement
    forget: Statement


class TargetKey(NamedTuple):
    """What a circuit is kept for.

    Args:
        subscription_id: The subscription.
        address: The webhook that it delivers to, or one of its steps (`broker.targets.Target.circuit`).
    """

    subscription_id: int
    address: str


async def lock_circuits(session: Session, keys: Iterable[TargetKey]) -> dict[TargetKey, Circuit]:
    """Lock the circuits of those of *keys* that have one, and return them."""
    wanted = set(keys)
    return _by_key(await session.fetch(_Sql.lock, **_columns(wanted))) if wanted else {}


async def save_circuits(session: Session, circuits: Mapping[TargetKey, Circuit]) -> None:
    """Store locked circuits."""
    if circuits:
        await session.execute(
            _Sql.save,
            **_columns(circuits),
            failures=[circuit.failures for circuit in circuits.values()],
            openings=[circuit.openings for circuit in circuits.values()],
            retry_at=[circuit.retry_at for circuit in circuits.values()],
            probing_until=[circuit.probing_until for circuit in circuits.values()],
            spared_until=[circuit.spared_until for circuit in circuits.values()],
            awaited=[circuit.is_awaited for circuit in circuits.values()],
        )


async def judge_circuits(session: Session, batch: Sequence[Ended]) -> dict[int, Phase]:
    """Update the circuits by how attempts ended; return those that opened or closed, by the position of the attempt."""
    calls = [
        (position, TargetKey(ended.due.subscription_id, address), result, admitted)
        for position, ended in enumerate(batch)
        for address, result, admitted in ended.calls
        if address is not None and (admitted.circuit or is_up(result) is False)
    ]
    rows = await session.fetch(_Sql.create, **_columns({key for _, key, _, _ in calls})) if calls else []
    if not rows:
        return {}
    circuits = _by_key(rows)
    now = rows[0]["changed_at"]
    changed = {}
    for position, key, result, admitted in calls:
        if key not in circuits:
            continue  # its subscription is deleted
        circuit, up = circuits[key], is_up(result)
        if up and circuit.is_spared(now) and not admitted.probe:
            continue  # it was under way when the target asked for no more
        if up:
            if circuit.retry_at is not None:
                changed[position] = Phase.CLOSED
            circuits[key] = Circuit(is_awaited=circuit.is_awaited)
        elif up is None and admitted.probe:
            circuit.end_probe()
        elif up is False and circuit.fail(now, probe=admitted.probe, asked=asked_pause(result)):
            changed[position] = Phase.OPEN
    healthy = [key for key, circuit in circuits.items() if circuit == Circuit()]
    await save_circuits(session, {key: circuits[key] for key in circuits.keys() - set(healthy)})
    if healthy:
        await session.execute(_Sql.drop, **_columns(healthy))
    return changed


async def end_probes(session: Session, keys: Collection[TargetKey]) -> None:
    """Note that the attempts that were to try targets again are not made; the next ones may."""
    if keys:
        await session.execute(_Sql.end_probes, **_columns(keys))


async def read_phases(on: Database, subscriptions: Sequence[Subscription]) -> dict[int, Phase]:
    """Return which of *subscriptions* have a target whose circuit is open, or half open, by their ids."""
    addresses = {one.id: {target.circuit for target in one.spec.targets} for one in subscriptions}
    phases: dict[int, Phase] = {}
    for row in await on.fetch(_Sql.of_subscriptions, subscription_ids=list(addresses)):
        phase, key = _read(row).phase(row["now"]), row["subscription_id"]
        if row["address"] in addresses[key] and phase is not Phase.CLOSED and phases.get(key) is not Phase.OPEN:
            phases[key] = phase
    return phases


async def drop_circuits(session: Session, subscription_id: int) -> int:
    """Drop the circuits of a subscription: its targets are tried again at once. Return how many it had."""
    return len(await session.fetch(_Sql.drop_of_subscription, subscription_id=subscription_id))


async def forget_circuits(on: Database) -> None:
    """Forget circuits that no attempt touches any more."""
    await on.execute(_Sql.forget)


def _by_key(rows: Iterable[Row]) -> dict[TargetKey, Circuit]:
    return {TargetKey(row["subscription_id"], row["address"]): _read(row) for row in rows}


def _read(row: Row) -> Circuit:
    return Circuit(
        failures=row["failures"],
        openings=row["openings"],
        retry_at=row["retry_at"],
        probing_until=row["probing_until"],
        spared_until=row["spared_until"],
        is_awaited=row["awaited"],
    )


def _columns(keys: Collection[TargetKey]) -> dict[str, list[int] | list[str]]:
    """Return *keys* as statements take them."""
    return {
        "subscription_ids": [subscription_id for subscription_id, _ in keys],
        "addresses": [address for _, address in keys],
    }
