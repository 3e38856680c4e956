"""Deliveries and their attempts in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.deliveries import Due, Result, State
from broker.signals import Signal
from broker.store.database import Database, Row
from broker.store.rows import read_signal, read_subscription
from broker.store.statements import load
from broker.subscriptions import Subscription

_SQL = load("deliveries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An attempt that was begun: all that it takes to make it.

    Args:
        due: Which attempt.
        signal: What is owed.
        subscription: To whom.
        secret: The webhook's signing secret, sealed.
        owed_at: When the signal was recorded.
    """

    due: Due
    signal: Signal
    subscription: Subscription
    secret: bytes | None
    owed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An attempt that was made.

    Args:
        due: Which attempt.
        result: What it came to.
        state: What it makes of the delivery.
        pause: How long to park, if the state is `parked`.
        started_at: When the attempt began.
        duration: How long it took.
    """

    due: Due
    result: Result
    state: State
    pause: timedelta | None
    started_at: datetime
    duration: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The books in one snapshot, of all subscriptions or of one.

    Args:
        recorded: Signals recorded (of all subscriptions, always).
        matched: Deliveries owed, as counted when the signals were recorded.
        states: Deliveries by state.
    """

    recorded: int
    matched: int
    states: dict[State, int]

    @property
    def unaccounted(self) -> int:
        """What is owed but in no state; anything but 0 is a defect."""
        return self.matched - sum(self.states.values())


class DeliveryStore:
    """Claims, finishes, parks and reads deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, batch: Sequence[tuple[Due, bool]], *, timeout: timedelta, grace: timedelta
    ) -> list[Claimed | None]:
        """Begin the attempts of *batch* (each with whether its message was handed out before).

        None stands for an attempt that is out of date. *timeout* is for subscriptions without one of their own;
        after it and *grace* more the scheduler looks after the attempt.
        """
        rows = await self._database.fetch(
            _SQL.claim,
            [due.signal_id for due, _ in batch],
            [due.subscription_id for due, _ in batch],
            [due.attempt for due, _ in batch],
            [again for _, again in batch],
            timeout.total_seconds(),
            grace.total_seconds(),
        )
        claimed = {(row["id"], row["subscription_id"], row["attempts"]): row for row in rows}
        # Popped, so that of two messages for one attempt in the same batch only the first begins it.
        popped = (claimed.pop((due.signal_id, due.subscription_id, due.attempt), None) for due, _ in batch)
        return [None if row is None else _read_claimed(due, row) for (due, _), row in zip(batch, popped, strict=True)]

    async def finish(self, batch: Sequence[Ended]) -> list[None]:
        """End the attempts of *batch*; one that was overtaken leaves the delivery's state alone."""
        await self._database.execute(
            _SQL.finish,
            [ended.due.signal_id for ended in batch],
            [ended.due.subscription_id for ended in batch],
            [ended.due.attempt for ended in batch],
            [ended.state.value for ended in batch],
            [None if ended.pause is None else ended.pause.total_seconds() for ended in batch],
            [ended.started_at for ended in batch],
            [ended.duration.total_seconds() for ended in batch],
            [ended.result.outcome.value for ended in batch],
            [ended.result.status for ended in batch],
            [_storable(ended.result.error) for ended in batch],
            [_storable(ended.result.excerpt) for ended in batch],
        )
        return [None] * len(batch)

    async def cancel(self, due: Due) -> None:
        """Cancel a delivery whose subscription was deleted."""
        await self._database.execute(_SQL.cancel, [due.signal_id], [due.subscription_id])

    async def release(self, *, limit: int, look_after: timedelta) -> list[Due]:
        """Put at most *limit* parked deliveries that are due back to pending, and return their next attempts."""
        return _read_due(await self._database.fetch(_SQL.release, limit, look_after.total_seconds()))

    async def overdue(self, *, limit: int) -> int:
        """Return how many pending deliveries should have been attempted by now, counting up to *limit*."""
        return int(await self._database.fetchval(_SQL.overdue, limit))

    async def late(self, *, by: timedelta) -> int:
        """Return how many parked deliveries are due since *by* or longer: nobody seems to release them."""
        return int(await self._database.fetchval(_SQL.late, by.total_seconds()))

    async def repair(self, *, limit: int, look_after: timedelta) -> list[Due]:
        """Return the next attempts of at most *limit* pending deliveries that should have been attempted by now."""
        return _read_due(await self._database.fetch(_SQL.repair, limit, look_after.total_seconds()))

    async def get(self, due: tuple[int, int]) -> Row | None:
        """Return the row of a delivery (signal id, subscription id), with the subscription's ``tenant_id``."""
        return await self._database.fetchrow(_SQL.get, *due)

    async def attempts(self, due: tuple[int, int]) -> list[Row]:
        """Return the rows of a delivery's attempts in order."""
        return await self._database.fetch(_SQL.attempts, *due)

    async def page(
        self,
        *,
        after: tuple[int, int] = (0, 0),
        limit: int = 100,
        state: str | None = None,
        subscription_id: int | None = None,
        signal_id: int | None = None,
        tenants: Sequence[str] | None = None,
    ) -> list[Row]:
        """Return rows of deliveries in ascending order of ids; *tenants* are those the caller sees (None: all)."""
        return await self._database.fetch(_SQL.list, *after, state, subscription_id, signal_id, tenants, limit)

    async def redrive(self, due: tuple[int, int]) -> bool:
        """Put a dead delivery back; return whether it was dead."""
        return await self._database.fetchval(_SQL.redrive, *due) is not None

    async def ledger(self, subscription_id: int | None = None) -> Ledger:
        """Return the books in one consistent snapshot."""
        row = await self._database.fetchrow(_SQL.ledger, subscription_id)
        assert row is not None  # noqa: S101  (an aggregate returns one row)
        return Ledger(
            recorded=row["recorded"], matched=row["matched"], states={state: row[state.value] for state in State}
        )


def _read_claimed(due: Due, row: Row) -> Claimed:
    return Claimed(
        due=due,
        signal=read_signal(row),
        subscription=read_subscription(row, "subscription_"),
        secret=row["secret"],
        owed_at=row["owed_at"],
    )


def _read_due(rows: Sequence[Row]) -> list[Due]:
    return [Due(row["signal_id"], row["subscription_id"], row["attempt"]) for row in rows]


def _storable(text: str | None) -> str | None:
    """Return *text* as PostgreSQL takes it: one odd character must not cost a whole batch of attempts."""
    return None if text is None else text.replace("\x00", "").encode(errors="replace").decode()[:2000]
