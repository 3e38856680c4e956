"""Circuits in PostgreSQL, one per webhook that failed, whoever delivers there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from broker.circuits import Circuit, Phase, is_up
from broker.store.deliveries.deliveries import Ended
from broker.store.postgres.database import Row, Session
from broker.store.postgres.statements import load

_SQL = load("broker.store.deliveries", "circuits")


def read_circuit(row: Row) -> Circuit:
    """Return the circuit in a row of ``circuits``."""
    return Circuit(
        failures=row["failures"],
        openings=row["openings"],
        retry_at=row["retry_at"],
        probing_until=row["probing_until"],
    )


async def lock_circuits(session: Session, addresses: Iterable[str | None]) -> dict[str, Circuit]:
    """Lock the circuits of *addresses* and return them, as far as there are any."""
    webhooks = list({address for address in addresses if address is not None})
    rows = await session.fetch(_SQL.lock, webhooks) if webhooks else []
    return {row["address"]: read_circuit(row) for row in rows}


async def save_circuits(session: Session, circuits: Mapping[str, Circuit]) -> None:
    """Keep what became of locked circuits."""
    if circuits:
        await session.execute(
            _SQL.save,
            list(circuits),
            [circuit.failures for circuit in circuits.values()],
            [circuit.openings for circuit in circuits.values()],
            [circuit.retry_at for circuit in circuits.values()],
            [circuit.probing_until for circuit in circuits.values()],
        )


async def judge_circuits(session: Session, batch: Sequence[Ended]) -> dict[int, Phase]:
    """Tell the circuits how the attempts ended; return those that changed, by the position that changed them."""
    told = [
        (position, address, result, passed)
        for position, ended in enumerate(batch)
        for address, result, passed in ended.calls
        if address is not None and (passed.circuit or is_up(result) is False)
    ]
    if not told:
        return {}
    rows = await session.fetch(_SQL.make, list({address for _, address, _, _ in told}))
    circuits = {row["address"]: read_circuit(row) for row in rows}
    now = rows[0]["changed_at"]
    changed = {}
    for position, address, result, passed in told:
        circuit, up = circuits[address], is_up(result)
        if up:
            if circuit.retry_at is not None:
                changed[position] = Phase.CLOSED
            circuits[address] = Circuit()
        elif up is None and passed.probe:
            circuit.end_probe()
        elif up is False and circuit.fail(now, probe=passed.probe):
            changed[position] = Phase.OPEN
    well = [address for address, circuit in circuits.items() if circuit == Circuit()]
    await save_circuits(session, {address: circuits[address] for address in circuits.keys() - set(well)})
    if well:
        await session.execute(_SQL.drop, well)
    return changed
