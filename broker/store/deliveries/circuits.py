"""Circuits in PostgreSQL: one per webhook that failed, shared by all subscriptions that deliver there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from broker.circuits import Circuit, Phase, asked_pause, is_up
from broker.store.deliveries.attempts import Ended
from broker.store.postgres.database import Row, Session
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="circuits.sql"):
    lock: Statement
    create: Statement
    save: Statement
    drop: Statement


def read_circuit(row: Row) -> Circuit:
    """Return the circuit in a row of ``circuits``."""
    return Circuit(
        failures=row["failures"],
        openings=row["openings"],
        retry_at=row["retry_at"],
        probing_until=row["probing_until"],
        spared_until=row["spared_until"],
    )


async def lock_circuits(session: Session, addresses: Iterable[str | None]) -> dict[str, Circuit]:
    """Lock the circuits of those of *addresses* that have one, and return them."""
    webhooks = list({address for address in addresses if address is not None})
    rows = await session.fetch(_Sql.lock, addresses=webhooks) if webhooks else []
    return {row["address"]: read_circuit(row) for row in rows}


async def save_circuits(session: Session, circuits: Mapping[str, Circuit]) -> None:
    """Store locked circuits."""
    if circuits:
        await session.execute(
            _Sql.save,
            addresses=list(circuits),
            failures=[circuit.failures for circuit in circuits.values()],
            openings=[circuit.openings for circuit in circuits.values()],
            retry_at=[circuit.retry_at for circuit in circuits.values()],
            probing_until=[circuit.probing_until for circuit in circuits.values()],
            spared_until=[circuit.spared_until for circuit in circuits.values()],
        )


async def judge_circuits(session: Session, batch: Sequence[Ended]) -> dict[int, Phase]:
    """Update the circuits by how attempts ended; return those that opened or closed, by the position of the attempt."""
    calls = [
        (position, address, result, admitted)
        for position, ended in enumerate(batch)
        for address, result, admitted in ended.calls
        if address is not None and (admitted.circuit or is_up(result) is False)
    ]
    if not calls:
        return {}
    rows = await session.fetch(_Sql.create, addresses=list({address for _, address, _, _ in calls}))
    circuits = {row["address"]: read_circuit(row) for row in rows}
    now = rows[0]["changed_at"]
    changed = {}
    for position, address, result, admitted in calls:
        circuit, up = circuits[address], is_up(result)
        if up and circuit.is_spared(now) and not admitted.probe:
            continue  # it was under way when the target asked for no more
        if up:
            if circuit.retry_at is not None:
                changed[position] = Phase.CLOSED
            circuits[address] = Circuit()
        elif up is None and admitted.probe:
            circuit.end_probe()
        elif up is False and circuit.fail(now, probe=admitted.probe, asked=asked_pause(result)):
            changed[position] = Phase.OPEN
    healthy = [address for address, circuit in circuits.items() if circuit == Circuit()]
    await save_circuits(session, {address: circuits[address] for address in circuits.keys() - set(healthy)})
    await drop_circuits(session, healthy)
    return changed


async def drop_circuits(session: Session, addresses: Collection[str]) -> None:
    """Drop the circuits of webhooks: they are tried again at once."""
    if addresses:
        await session.execute(_Sql.drop, addresses=addresses)
