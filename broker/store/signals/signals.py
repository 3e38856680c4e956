"""Signals in PostgreSQL: numbered when they come in, recorded when they come out of the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.signals import Signal, Throw
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database, Unplaced
from broker.store.postgres.statements import load
from broker.store.rows import read_signal
from broker.store.signals.recording import Overtaken, Recorded, record
from broker.store.spans import find_start

_SQL = load("broker.store.signals", "signals")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """A caller's promise that throws with the same *key* are one throw, for 24 hours.

    Args:
        principal: Whose key it is.
        key: The key.
        body_hash: What the request was, to tell a repeat from a mistake.
    """

    principal: str
    key: str
    body_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """The database's answer to one throw.

    Args:
        id: The signal's id; the first one's for a repeat.
        created_at: The database's clock at that moment.
        repeated: Whether the idempotency key was used before, with the same body.
        conflicting: Whether the idempotency key was used before, with another body.
        execution: Name and tenant of every active subscription of the execution, for a throw to one.
    """

    id: int
    created_at: datetime
    repeated: bool = False
    conflicting: bool = False
    execution: tuple[tuple[str, str | None], ...] = ()


class SignalStore:
    """Numbers, records and reads signals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def number(self, batch: Sequence[tuple[Throw, IdempotencyKey | None]]) -> list[Numbered]:
        """Number the throws of *batch* in order, in one round trip."""
        # A statement can meet a key only once, so a key's later throws of one batch are judged here, by its first.
        first: dict[tuple[str, str], int] = {}
        keys: list[IdempotencyKey | None] = []
        for position, (_, key) in enumerate(batch):
            is_first = key is not None and first.setdefault((key.principal, key.key), position) == position
            keys.append(key if is_first else None)
        rows = await self._database.fetch(
            _SQL.number,
            [throw.name for throw, _ in batch],
            [throw.execution_id for throw, _ in batch],
            [key and key.principal for key in keys],
            [key and key.key for key in keys],
            [key and key.body_hash for key in keys],
        )
        answers = []
        for (_, key), row in zip(batch, rows, strict=True):
            known = row if key is None else rows[first[key.principal, key.key]]
            repeat = key is not None and known["first_id"] != row["id"]
            same = key is None or known["first_body_hash"] == key.body_hash
            answers.append(
                Numbered(
                    id=known["first_id"] if repeat else row["id"],
                    created_at=known["first_created_at"] if repeat else row["created_at"],
                    repeated=repeat and same,
                    conflicting=repeat and not same,
                    execution=tuple(zip(row["execution_names"] or (), row["execution_tenants"] or (), strict=True)),
                )
            )
        return answers

    async def record(self, signals: Sequence[Signal], *, rescue_after: timedelta) -> Recorded:
        """Record *signals* with one delivery per matching subscription, in one transaction.

        With many subscriptions, only as many of them as it can in good time, in the order of ids, but at least one.
        Repeating it is harmless: a signal that is recorded already is not matched again, but what is still due of it
        with no attempt begun is returned again. *rescue_after*: when a delivery's message may be given up for lost.
        """
        batch = {signal.id: signal for signal in sorted(signals, key=lambda signal: signal.id)}
        while True:
            try:
                async with self._database.transaction() as session:
                    return await record(session, batch, rescue_after=rescue_after)
            except Overtaken:
                continue
            except Unplaced:  # more signals than anybody foresaw, or older ones than are kept
                if not await PartitionStore(self._database).cover(batch):
                    raise

    async def take_scheduled(self, *, limit: int, rescue_after: timedelta) -> tuple[list[Signal], list[int]]:
        """Return at most *limit* scheduled signals whose moment has come, and the ids of those that expired before.

        Unless `end_schedule` is told about one within *rescue_after*, it is returned again.
        """
        rows = await self._database.fetch(_SQL.take_scheduled, limit, rescue_after.total_seconds())
        expired = [row["id"] for row in rows if row["expired"]]
        return [read_signal(row) for row in rows if not row["expired"]], expired

    async def end_schedule(self, ids: Sequence[int]) -> None:
        """Note that these signals are scheduled no longer: the taps have them."""
        await self._database.execute(_SQL.end_schedule, ids)

    async def cancel(self, signal_id: int) -> bool:
        """Cancel a scheduled signal and what it is owed to; return whether it came before the release.

        Of a cancellation and a release that meet, exactly one happens: whoever locks the rows first.
        """
        async with self._database.transaction() as session:
            if await session.fetchval(_SQL.lock_scheduled, signal_id) is None:
                return False
            deliveries = await session.fetch(_SQL.lock_deliveries, signal_id)
            if any(delivery["released"] for delivery in deliveries):
                return False
            await session.execute(_SQL.cancel_signal, signal_id)
        return True

    async def get(self, signal_id: int) -> Signal | None:
        """Return the recorded signal with that id, if there is one."""
        row = await self._database.fetchrow(_SQL.get_signal, signal_id)
        return None if row is None else read_signal(row)

    async def was_numbered(self, signal_id: int) -> bool:
        """Return whether that number was given to anybody: a signal, or a subscription that came or went."""
        return bool(await self._database.fetchval(_SQL.was_numbered, signal_id))

    async def last_id(self) -> int:
        """Return the id of the signal that was recorded last; 0 without any."""
        return int(await self._database.fetchval(_SQL.last_id) or 0)

    async def page(
        self,
        *,
        after_id: int = 0,
        limit: int = 100,
        name: str | None = None,
        tenant_id: str | None = None,
        execution_id: str | None = None,
        tenants: Sequence[str] | None = None,
        source: str | None = None,
        source_id: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        state: str | None = None,
    ) -> list[Signal]:
        """Return signals in the order in which they were recorded; *tenants* are those the caller sees (None: all).

        What is recorded later comes later, so who goes on after the last one of a page never misses any. That order is
        nearly, but not always, that of ids. All that have higher ids follow a signal *after_id* that is not recorded.
        """
        position, higher_than = await find_start(self._database, after_id, since)
        rows = await self._database.fetch(
            _SQL.list_signals,
            position,
            higher_than,
            name,
            tenant_id,
            execution_id,
            tenants,
            source,
            source_id,
            since,
            until,
            state,
            limit,
        )
        return [read_signal(row) for row in rows]

    async def forget_idempotency_keys(self, limit: int = 1000) -> None:
        """Forget keys older than 24 hours, at most *limit* of them."""
        await self._database.execute(_SQL.forget_idempotency_keys, limit)
