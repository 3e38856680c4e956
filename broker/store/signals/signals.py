"""Signals in PostgreSQL: numbered when they are thrown, recorded when they come out of the record queue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Unpack

from broker.access import ADMINISTRATOR, Principal
from broker.audit import AuditType
from broker.matching import Matcher
from broker.offloading import Offloader
from broker.signals import Signal, Throw
from broker.store.administration.audit import change_administration
from broker.store.deliveries.holding import HasRoom, Room, always, note_held_back
from broker.store.pages import Page
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database, Row, Unplaced
from broker.store.postgres.rehearsal import rehearse
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_signal
from broker.store.signals import recording
from broker.store.signals.listing import SignalFilter, list_signals
from broker.store.signals.matches import Limits, Outdated, find_matches
from broker.store.signals.recording import Overtaken, Recorded, find_taken, record_chunk, record_matched
from broker.store.signals.wide import find_chunk, find_unfinished
from broker.subscriptions import Waiting

TAKEN_BYTES = 8 << 20
"""Bytes of payloads that fill a batch of scheduled signals."""
_TRIES = 3
"""How often signals are matched again because subscriptions were changed meanwhile."""


class _Sql(Statements, file="signals.sql"):
    number: Statement
    waiting: Statement
    take_scheduled: Statement
    end_schedule: Statement
    lock_scheduled: Statement
    lock_recording: Statement
    lock_deliveries: Statement
    cancel_signal: Statement
    get: Statement
    was_numbered: Statement
    given: Statement
    last_id: Statement
    forget_idempotency_keys: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """A caller's promise that throws with the same *key* are one throw, for 24 hours.

    Args:
        principal: The principal whose key it is; other principals may use the same key.
        key: The key.
        body_hash: Hash of the request, which tells a repeat from a conflict.
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
        waiting: Every active subscription of the execution, for a throw to one, in the order of their creation.
    """

    id: int
    created_at: datetime
    repeated: bool = False
    conflicting: bool = False
    waiting: tuple[Waiting, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """The numbers that were given out.

    Args:
        last: The last one; 0 before the first one.
        beyond: The first number that is so far ahead that not even the next partitions have it.
        at: The database's clock at that moment.
    """

    last: int
    beyond: int
    at: datetime


class SignalStore:
    """Numbers, records and reads signals.

    Args:
        database: Where they are.
        limits: How much one recording does.
    """

    def __init__(self, database: Database, *, limits: Limits | None = None) -> None:
        self._database = database
        self._limits = limits or Limits()
        self._matcher = Matcher()
        self._offloader = Offloader()
        self._begun: set[int] = set()
        """Wide signals of which chunks remain to be recorded."""
        self._doubtful: set[int] = set()
        """Signals that may be wide, and are not begun."""

    async def number(self, batch: Sequence[tuple[Throw, IdempotencyKey | None]]) -> list[Numbered]:
        """Number the throws of *batch* in order, in one round trip, and in a second one if some are to executions."""
        first = _find_first_uses(batch)
        # A statement can insert a key only once, so it gets each key with its first throw of the batch.
        keys = [
            key if key is not None and first[key.principal, key.key] == position else None
            for position, (_, key) in enumerate(batch)
        ]
        rows = await self._database.fetch(
            _Sql.number,
            principals=[None if key is None else key.principal for key in keys],
            keys=[None if key is None else key.key for key in keys],
            body_hashes=[None if key is None else key.body_hash for key in keys],
        )
        numbered = [
            _read_numbered(row, key, row if key is None else rows[first[key.principal, key.key]])
            for (_, key), row in zip(batch, rows, strict=True)
        ]
        executions = {
            one.id: throw.execution_id
            for one, (throw, _) in zip(numbered, batch, strict=True)
            if throw.execution_id is not None and not one.conflicting  # which has the id of a throw to another one
        }
        waiting = await self._find_waiting(executions)
        return [replace(one, waiting=waiting.get(one.id, ())) for one in numbered] if waiting else numbered

    async def _find_waiting(self, executions: Mapping[int, str]) -> dict[int, tuple[Waiting, ...]]:
        """Return who waits in the *executions* that signals, by their ids, were thrown to."""
        if not executions:
            return {}
        rows = await self._database.fetch(
            _Sql.waiting, signal_ids=list(executions), execution_ids=list(executions.values())
        )
        return {
            signal_id: () if row["waiting"] is None else _read_waiting(row["waiting"])
            for signal_id, row in zip(executions, rows, strict=True)
        }

    async def record(
        self,
        signals: Sequence[Signal],
        *,
        rescue_after: timedelta,
        has_room: HasRoom = always,
        are_repeats: bool = False,
    ) -> Recorded:
        """Record *signals* with one delivery per matching subscription, in one transaction.

        The signals are matched before the transaction. If they are owed to many subscriptions, or matching takes long,
        it records only some, but at least one: those first that few subscriptions may match. One that is wide takes a
        transaction for each of its chunks, and is left until the last one; its deliveries are released by and by.
        Repeating it is harmless: a signal that is recorded already is owed to no more subscriptions, but those of its
        attempts that are due and were not begun are returned again. *rescue_after*: how long a delivery waits for its
        message. *has_room*: whether the next delivery of a subscription may go at once; else it waits. *are_repeats*:
        whether some of the signals may be recorded already; otherwise repeats may take room from others for a moment.
        """
        batch = {signal.id: signal for signal in sorted(signals, key=lambda signal: signal.id)}
        if not batch:
            return Recorded((), ())
        begun = [signal for signal in batch.values() if signal.id in self._begun]
        new = [signal for signal in batch.values() if signal.id not in self._begun | self._doubtful]
        if new or not begun:
            new = new or [next(iter(batch.values()))]
            recorded = await self._record_new(
                new, rescue_after=rescue_after, has_room=has_room, are_repeats=are_repeats
            )
        else:
            recorded = await self._record_chunk(begun[0], rescue_after=rescue_after)
        left = (self._begun | self._doubtful | {signal.id for signal in recorded.left}) - recorded.taken
        return replace(recorded, left=[signal for signal in batch.values() if signal.id in left])

    async def _record_new(
        self, signals: Sequence[Signal], *, rescue_after: timedelta, has_room: HasRoom, are_repeats: bool
    ) -> Recorded:
        matches, tries, room = None, 0, Room(has_room)
        while True:
            matches = matches or await find_matches(self._database, self._matcher, signals, self._limits)
            try:
                recorded = await record_matched(
                    self._database,
                    matches,
                    strictly=tries < _TRIES,
                    rescue_after=rescue_after,
                    limits=self._limits,
                    room=room,
                    are_repeats=are_repeats,
                )
                break
            except Outdated:
                matches, tries = None, tries + 1
            except Overtaken:
                continue
            except Unplaced:  # the partitions ahead are used up, or the signal's partition was dropped
                if not await PartitionStore(self._database).cover([signal.id for signal in signals]):
                    raise
        if recorded.held_back:
            await note_held_back(self._database, recorded.held_back)
        self._begun |= recorded.begun
        self._doubtful = self._doubtful.union(matches.doubtful).difference(one.id for one in matches.signals)
        return recorded

    async def _record_chunk(self, signal: Signal, *, rescue_after: timedelta) -> Recorded:
        if taken := await find_taken(self._database, [signal]):
            return Recorded((), (), taken=taken)
        tries = 0
        while True:
            chunk = await find_chunk(self._database, self._matcher, signal, self._limits)
            recorded = Recorded((), ())
            try:
                if chunk is not None:
                    async with self._database.transaction() as session:
                        recorded = await record_chunk(
                            session, signal, chunk, strictly=tries < _TRIES, rescue_after=rescue_after
                        )
                break
            except (Outdated, Overtaken):
                tries += 1
        if not recorded.begun:
            self._begun.discard(signal.id)
        return recorded

    async def find_unfinished(self, *, limit: int) -> list[tuple[Signal, int]]:
        """Return at most *limit* wide signals of which chunks remain to be recorded, each with how far it is."""
        return await find_unfinished(self._database, limit=limit)

    async def rehearse_numbering(self) -> None:
        """Return if `number` would do its work now.

        Raises:
            StoreUnavailable: It would not.
        """
        await rehearse(self._database, [_Sql.number, _Sql.waiting])

    async def rehearse_recording(self) -> None:
        """Return if `record` would do its work now, as far as that does not depend on the signals.

        Raises:
            StoreUnavailable: It would not.
        """
        await rehearse(self._database, recording.NEEDED)

    async def take_scheduled(
        self, *, limit: int, offset: int = 0, rescue_after: timedelta
    ) -> tuple[list[Signal], list[int]]:
        """Return up to *limit* scheduled signals that are due, and the ids of those that have expired.

        The first *offset* of them are left out.

        There are fewer if the payloads of these come to `TAKEN_BYTES`.
        A signal is returned again after *rescue_after*, unless `end_schedule` was called for it.
        """
        rows = await self._database.fetch(
            _Sql.take_scheduled,
            limit=limit,
            offset=offset,
            max_bytes=TAKEN_BYTES,
            rescue_after=rescue_after.total_seconds(),
        )
        expired = [row["id"] for row in rows if row["expired"]]
        return [read_signal(row) for row in rows if not row["expired"]], expired

    async def end_schedule(self, ids: Sequence[int]) -> None:
        """Note that these signals are no longer scheduled, because the taps have them."""
        await self._database.execute(_Sql.end_schedule, signal_ids=ids)

    async def cancel(self, signal_id: int, *, by: Principal = ADMINISTRATOR) -> bool:
        """Cancel a scheduled signal and its deliveries; return whether that happened before its release.

        Of a concurrent cancellation and release exactly one happens: the one that locks the rows first.
        """
        async with change_administration(self._database, by) as change:
            session = change.session
            if await session.fetchval(_Sql.lock_scheduled, signal_id=signal_id) is None:
                return False
            await session.execute(_Sql.lock_recording, signal_id=signal_id)
            deliveries = await session.fetch(_Sql.lock_deliveries, signal_id=signal_id)
            if any(delivery["released"] for delivery in deliveries):
                return False
            await session.execute(_Sql.cancel_signal, signal_id=signal_id)
            before, after = {"state": "scheduled"}, {"state": "cancelled"}
            await change.note(AuditType.SIGNAL_CANCELLED, signal_id, before=before, after=after)
        return True

    async def get(self, signal_id: int) -> Signal | None:
        """Return the recorded signal with that id, if there is one."""
        row = await self._database.fetchrow(_Sql.get, signal_id=signal_id)
        return None if row is None else read_signal(row)

    async def was_numbered(self, signal_id: int) -> bool:
        """Return whether that number was given: to a signal, or to the creation or deletion of a subscription."""
        return bool(await self._database.fetchval(_Sql.was_numbered, number=signal_id))

    async def given(self) -> Given:
        """Return which numbers were given out so far: the id of every signal that any gateway has published."""
        row = await self._database.fetchrow(_Sql.given)
        assert row is not None  # noqa: S101  (a sequence always has a row)
        return Given(row["last"], row["beyond"], row["at"])

    async def last_id(self) -> int:
        """Return the id of the signal that was recorded last; 0 without any."""
        return int(await self._database.fetchval(_Sql.last_id) or 0)

    async def page(
        self,
        *,
        after_id: int | None = None,
        limit: int = 100,
        descending: bool = False,
        by: Principal = ADMINISTRATOR,
        **wanted: Unpack[SignalFilter],
    ) -> Page[Signal, int]:
        """Return a page of the *wanted* signals that *by* may read, in the order in which they were recorded.

        A reader that resumes after a page's last signal misses nothing, because later recordings come later. The order
        is nearly, but not always, that of ids. If *after_id* is not recorded, the signals with higher ids follow it.
        *descending*: the opposite order. See `list_signals`.
        """
        return await list_signals(
            self._database,
            self._offloader,
            wanted,
            by=by,
            after_id=after_id,
            limit=limit,
            descending=descending,
        )

    async def forget_idempotency_keys(self, limit: int) -> int:
        """Delete up to *limit* idempotency keys older than 24 hours; return how many."""
        return len(await self._database.fetch(_Sql.forget_idempotency_keys, limit=limit))


def _find_first_uses(batch: Sequence[tuple[Throw, IdempotencyKey | None]]) -> dict[tuple[str, str], int]:
    """Return the position in *batch* of the first throw with each idempotency key."""
    first: dict[tuple[str, str], int] = {}
    for position, (_, key) in enumerate(batch):
        if key is not None:
            first.setdefault((key.principal, key.key), position)
    return first


def _read_waiting(text: str) -> tuple[Waiting, ...]:
    return tuple(Waiting(name, None if tenants is None else tuple(tenants)) for name, tenants in json.loads(text))


def _read_numbered(row: Row, key: IdempotencyKey | None, known: Row) -> Numbered:
    """Return the answer to a throw with *key*; *known* is the row with the key's first use."""
    if key is None or known["first_id"] == row["id"]:
        return Numbered(id=row["id"], created_at=row["created_at"])
    is_same = known["first_body_hash"] == key.body_hash
    return Numbered(
        id=known["first_id"],
        created_at=known["first_created_at"],
        repeated=is_same,
        conflicting=not is_same,
    )
