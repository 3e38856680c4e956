"""What is held in PostgreSQL, and how it goes on: pauses, places that came free, what is given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.admission import disabled_clause
from broker.circuits import Circuit, Phase
from broker.deliveries import DELETED, DeliveryState, DueAttempt
from broker.limits import CatchUp
from broker.store.deliveries.circuits import read_circuit
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import load
from broker.store.rows import read_due, read_subscription
from broker.subscriptions import Subscription

_SQL = load("broker.store.deliveries", "pausing")
_GATES = load("broker.store.deliveries", "admission")
_SWEEP = 50
"""How many gates one sweep looks at."""
_LIMIT = 1000
"""How many deliveries of a gate it lets go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits at a subscription's gate.

    Args:
        oldest: Since when the oldest parked delivery is owed.
        circuit: What its target's circuit does with deliveries now.
    """

    oldest: datetime | None
    circuit: Phase


class PausingStore:
    """Pauses and resumes subscriptions, and lets go on what is held."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pause(self, subscription_id: int) -> Subscription | None:
        """Hold the deliveries of a subscription from now on; return it, or None if there is none."""
        row = await self._database.fetchrow(_SQL.pause, subscription_id)
        return None if row is None else read_subscription(row)

    async def resume(self, subscription_id: int, *, per_second: float | None) -> Subscription | None:
        """Let a subscription that was paused or disabled get its deliveries again; return it, or None if there is none.

        What was held meanwhile goes on at *per_second*, the oldest first; None begins slowly and becomes faster.
        """
        async with self._database.transaction() as session:
            await session.fetch(_GATES.lock, [subscription_id])
            row = await session.fetchrow(_SQL.resume, subscription_id, per_second)
        return None if row is None else read_subscription(row)

    async def sweep(self, *, rescue_after: timedelta) -> list[DueAttempt]:
        """Let go on what is held and may, as far as nobody else sees to it; return the attempts that may be made now.

        That is: what was held during a pause, a part at a time; and places that came free by themselves. What a
        disabled subscription still waits for is given up, and what a deleted one does, cancelled.
        """
        ids = [row["subscription_id"] for row in await self._database.fetch(_SQL.holding, _SWEEP)]
        if not ids:
            return []
        async with self._database.transaction() as session:
            gates = {row["subscription_id"]: row for row in await session.fetch(_SQL.lock_idle, ids)}
            standing = await session.fetch(_SQL.standing, list(gates))
            ends = {row["id"]: end for row in standing if (end := _end(row)) is not None}
            if ends:
                await session.execute(
                    _SQL.end_waiting,
                    list(ends),
                    [state.value for state, _ in ends.values()],
                    [reason for _, reason in ends.values()],
                    _LIMIT,
                )
            active = [row for row in standing if row["id"] not in ends and not row["paused"]]
            await _catch_up(session, {row["id"]: (gates[row["id"]], row["now"]) for row in active})
            await session.execute(_SQL.drop_places, list(gates))
            rows = await session.fetch(
                _GATES.promote, [row["id"] for row in active], _LIMIT, rescue_after.total_seconds()
            )
            await session.execute(_SQL.settle, [*ends, *(row["id"] for row in active)])
        return read_due(rows)

    async def forget(self) -> None:
        """Forget the circuits of targets that nobody delivers to any more, and places that nobody came back to."""
        await self._database.execute(_SQL.forget_circuits)
        await self._database.execute(_SQL.forget_places)

    async def backlog(self, subscription_id: int) -> Backlog | None:
        """Return what waits at the gate of a subscription, or None if it was forgotten."""
        row = await self._database.fetchrow(_SQL.backlog, subscription_id)
        if row is None:
            return None
        circuit = Circuit() if row["failures"] is None else read_circuit(row)
        return Backlog(oldest=row["oldest"], circuit=circuit.phase(row["now"]))

    async def census(self) -> tuple[int, float]:
        """Return how many circuits are not closed, and for how many seconds the oldest held delivery is owed."""
        row = await self._database.fetchrow(_SQL.census)
        assert row is not None  # noqa: S101  (it returns one row)
        return row["circuits"], float(row["held_seconds"] or 0)


def _end(standing: Row) -> tuple[DeliveryState, str] | None:
    """Return what becomes of what a subscription waits for that gets nothing any more, and why."""
    if standing["deleted"]:
        return DeliveryState.CANCELLED, DELETED
    if standing["disabled_because"]:
        return DeliveryState.DEAD, disabled_clause(standing["disabled_because"])
    return None


async def _catch_up(session: Session, gates: Mapping[int, tuple[Row, datetime]]) -> None:
    """Tell those that are held since a pause when to go on, as far as that is soon."""
    catching = {key: CatchUp(row["catch_up"], row["caught_up"], row["caught_up_at"]) for key, (row, _) in gates.items()}
    most = {key: min(catch_up.due(gates[key][1]), _LIMIT) for key, catch_up in catching.items()}
    rows = await session.fetch(_SQL.held, list(most), list(most.values()))
    if rows:
        moments = [catching[row["subscription_id"]].next(gates[row["subscription_id"]][1]) for row in rows]
        keys = [row["signal_id"] for row in rows], [row["subscription_id"] for row in rows]
        await session.execute(_SQL.go_on, *keys, moments)
        await session.execute(
            _SQL.save_catch_up,
            list(catching),
            [catch_up.done for catch_up in catching.values()],
            [catch_up.at for catch_up in catching.values()],
        )
