"""Buffered messages: accepted, numbered, and kept until a subscription waits for them or their time to live is over."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from broker.signals import Signal
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database, Session, Unplaced
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_signal
from broker.store.signals.matches import Limits, Matches
from broker.store.signals.recording import Overtaken, record

MOST_BYTES = 256 << 20
"""Bytes of payloads that are buffered at most for each tenant, and for those without one."""
_TAKEN_BYTES = 8 << 20
"""Bytes of payloads that fill a batch of messages whose time to live is over."""
_CHANNEL = "correlatable"


class _Sql(Statements, file="buffering.sql"):
    claim_id: Statement
    lock_tenant: Statement
    has_room: Statement
    keep: Statement
    holds: Statement
    find: Statement
    get: Statement
    take: Statement
    take_expired: Statement
    forget_ids: Statement
    count: Statement


class IdTaken(Exception):
    """Raised when another message has the same id, and its time to live is not over."""


class BufferFull(Exception):
    """Raised when no more messages are buffered for a tenant."""


@dataclass(frozen=True, slots=True)
class UniqueId:
    """The id of a message: no other one has the same *digest* until its *time_to_live* is over."""

    digest: bytes
    time_to_live: timedelta


class BufferStore:
    """Keeps messages.

    Args:
        database: Where they are.
        most: How many are kept for each tenant, and for those without one.
        most_bytes: How many bytes of payloads.
    """

    def __init__(self, database: Database, *, most: int, most_bytes: int = MOST_BYTES) -> None:
        self._database = database
        self._most = most
        self._most_bytes = most_bytes
        self._limits = Limits()

    def listen(self, on_correlatable: Callable[[str | None], None]) -> None:
        """Call *on_correlatable* with the name of messages that a subscription may wait for now; None: any may."""
        self._database.listen(_CHANNEL, on_correlatable)

    async def keep(self, message: Signal, time_to_live: timedelta, unique: UniqueId | None = None) -> None:
        """Keep *message*, which is for one tenant, unless it is kept or recorded already.

        Raises:
            IdTaken: Another message has its id.
            BufferFull: No more are kept for its tenant.
        """
        throw = message.throw
        tenant, seconds, size = throw.tenant_id or "", time_to_live.total_seconds(), len(throw.payload)
        async with self._database.transaction() as session:
            if unique is not None:
                await claim(session, unique, message.id)
            await session.execute(_Sql.lock_tenant, tenant=tenant)
            limits = {"most": self._most, "most_bytes": self._most_bytes}
            if not await session.fetchval(_Sql.has_room, tenant=tenant, bytes=size, **limits):
                raise BufferFull
            await session.execute(
                _Sql.keep,
                id=message.id,
                created_at=message.created_at,
                seconds=seconds,
                name=throw.name,
                scope=throw.scope.value,
                tenant=tenant,
                payload=throw.payload.decode(),
                types=json.dumps(throw.types),
                source=throw.source.value,
                token_id=throw.token_id,
                business_key=throw.business_key or "",
                traceparent=None if throw.trace is None else throw.trace.traceparent,
                tracestate=None if throw.trace is None else throw.trace.tracestate,
                hops=throw.hops,
                bytes=size,
            )

    async def holds(self, signal_id: int) -> bool:
        """Return whether the message with that id is kept."""
        return bool(await self._database.fetchval(_Sql.holds, signal_id=signal_id))

    async def find(self, names: Sequence[str] | None, *, after: int, limit: int) -> list[int]:
        """Return the ids of up to *limit* messages that a subscription may wait for now, the oldest first.

        They are of *names*, if these are given, and have ids above *after*.
        """
        rows = await self._database.fetch(_Sql.find, names=names, after=after, limit=limit)
        return [row["id"] for row in rows]

    async def get(self, signal_id: int) -> Signal | None:
        """Return the message with that id, if it is kept and its time to live is not over."""
        row = await self._database.fetchrow(_Sql.get, signal_id=signal_id)
        return None if row is None else read_signal(row)

    async def expire(self, *, limit: int, offset: int = 0) -> int:
        """Record up to *limit* messages whose time to live is over, owed to no subscription; return how many.

        The first *offset* of them are left out. There are fewer if their payloads come to 8 MiB.
        """
        ids: list[int] = []
        while True:
            try:
                async with self._database.transaction() as session:
                    rows = await session.fetch(_Sql.take_expired, limit=limit, offset=offset, max_bytes=_TAKEN_BYTES)
                    ids = [row["id"] for row in rows]
                    if rows:
                        await _record_unowed(session, [read_signal(row) for row in rows], self._limits)
                return len(rows)
            except Overtaken:
                continue
            except Unplaced:
                if not await PartitionStore(self._database).cover(ids):
                    raise

    async def forget_ids(self, *, limit: int) -> int:
        """Forget up to *limit* ids of messages whose time to live is over; return how many."""
        return len(await self._database.fetch(_Sql.forget_ids, limit=limit))


async def count_buffered(database: Database) -> int:
    """Return how many messages are buffered."""
    return int(await database.fetchval(_Sql.count))


async def claim(session: Session, unique: UniqueId, signal_id: int) -> None:
    """Claim an id for the message *signal_id*.

    Raises:
        IdTaken: Another message has it.
    """
    seconds = unique.time_to_live.total_seconds()
    if await session.fetchval(_Sql.claim_id, digest=unique.digest, signal_id=signal_id, seconds=seconds) is None:
        raise IdTaken


async def take(session: Session, signal_id: int) -> bool:
    """Take a message out of the buffer; return whether it was there, and its time to live is not over."""
    return await session.fetchval(_Sql.take, signal_id=signal_id) is not None


async def _record_unowed(session: Session, signals: Sequence[Signal], limits: Limits) -> None:
    """Record *signals*; those that are recorded already stay as they are."""
    matches = Matches(
        signals=sorted(signals, key=lambda signal: signal.id), left=[], versions={}, matching=[], exceeded=[]
    )
    await record(session, matches, strictly=False, rescue_after=timedelta(), limits=limits)
