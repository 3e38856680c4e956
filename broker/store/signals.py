"""Signals in PostgreSQL: numbered when they come in, recorded when they come out of the queue."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.deliveries import DELETED, Due, Reason
from broker.names import is_pattern
from broker.signals import Signal, State, Throw
from broker.store.blocks import BlockStore
from broker.store.database import Database, Session, Unplaced
from broker.store.lines import cease_expecting, give_turns, lock_keys, promote
from broker.store.rows import read_due, read_signal, read_subscription
from broker.store.statements import load
from broker.subscriptions import Subscription
from broker.topology import attempt_queue

_SQL = load("signals")
_PAIRS = 50_000
"""How many pairs of a signal and a subscription one transaction looks at: about half a second of work."""
_ROWS = 5000
"""How many deliveries one statement inserts, or returns."""


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


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a recording came to.

    Args:
        dues: The attempts that may be made now.
        left: The signals that are yet to be recorded.
    """

    dues: Sequence[Due]
    left: Sequence[Signal]


class _Overtaken(Exception):
    """Raised when another recorder recorded a signal of the batch just now; the batch has to be looked at again."""


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

    async def record(self, signals: Sequence[Signal], *, look_after: timedelta) -> Recorded:
        """Record *signals* with one delivery per matching subscription, in one transaction.

        With many subscriptions, only as many of them as it can in good time, in the order of ids, but at least one.
        Repeating it is harmless: a signal that is recorded already is not matched again, but what is still due of it
        with no attempt begun is returned again. *look_after*: when a delivery's message may be given up for lost.
        """
        batch = {signal.id: signal for signal in sorted(signals, key=lambda signal: signal.id)}
        while True:
            try:
                async with self._database.transaction() as session:
                    return await self._record(session, batch, look_after)
            except _Overtaken:
                continue
            except Unplaced:  # more signals than anybody foresaw, or older ones than are kept
                if not await BlockStore(self._database).cover(batch):
                    raise

    async def _record(self, session: Session, batch: Mapping[int, Signal], look_after: timedelta) -> Recorded:
        keys = {key for signal in batch.values() if (key := signal.throw.ordering_key) is not None}
        await lock_keys(session, keys)
        new = await self._unrecorded(session, batch)
        dues = []
        if len(new) < len(batch):
            dues = read_due(await session.fetch(_SQL.unbegun, [i for i in batch if i not in new], _ROWS))
        signals = [signal for signal in batch.values() if signal.id in new]
        if not signals:
            return Recorded(dues, ())
        candidates = await self._candidates(session, signals)
        fits = max(1, _PAIRS // max(1, len(candidates)))
        signals, left = signals[:fits], signals[fits:]
        matched = await self._match(session, signals, candidates)
        await self._note(session, signals, matched)
        expired = {signal_id for signal_id, is_expired in new.items() if is_expired}
        dues += await self._owe(session, matched, expired, look_after)
        if keys:
            await cease_expecting(session, [signal.id for signal in signals])
            dues += await promote(session, await give_turns(session, keys), look_after=look_after)
        await self._insert(session, signals)
        return Recorded(dues, left)

    async def _unrecorded(self, session: Session, batch: Mapping[int, Signal]) -> dict[int, bool]:
        """Return the ids of those that are not recorded yet, each with whether it has expired."""
        expiries = [signal.throw.expires_at for signal in batch.values()]
        rows = await session.fetch(_SQL.unrecorded, list(batch), expiries)
        return {row["id"]: row["expired"] for row in rows}

    async def _note(
        self, session: Session, signals: Sequence[Signal], matched: Sequence[tuple[Signal, Subscription]]
    ) -> None:
        """Note that *signals* are recorded, and what is owed.

        Raises:
            _Overtaken: Another recorder did so for one of them.
        """
        owed: dict[int, list[int]] = {signal.id: [] for signal in signals}
        for signal, subscription in matched:
            owed[signal.id].append(subscription.id)
        rows = await session.fetch(_SQL.insert_matches, list(owed), [json.dumps(ids) for ids in owed.values()])
        if len(rows) < len(owed):
            raise _Overtaken

    async def _insert(self, session: Session, signals: Sequence[Signal]) -> None:
        throws = [signal.throw for signal in signals]
        await session.execute(
            _SQL.insert_signals,
            [signal.id for signal in signals],
            [signal.created_at for signal in signals],
            [throw.name for throw in throws],
            [throw.scope.value for throw in throws],
            [throw.tenant_id for throw in throws],
            [throw.execution_id for throw in throws],
            [None if throw.reach is None else json.dumps(throw.reach) for throw in throws],
            [throw.payload.decode() for throw in throws],
            [json.dumps(throw.types) for throw in throws],
            [throw.source.value for throw in throws],
            [throw.source_id for throw in throws],
            [throw.token_id for throw in throws],
            [throw.business_key for throw in throws],
            [throw.traceparent for throw in throws],
            [throw.ordering_key for throw in throws],
            [throw.deliver_at for throw in throws],
            [throw.expires_at for throw in throws],
            [(State.SCHEDULED if signal.is_scheduled else State.RECORDED).value for signal in signals],
            [signal.throw.deliver_at if signal.is_scheduled else None for signal in signals],
        )

    async def _candidates(self, session: Session, signals: Sequence[Signal]) -> list[Subscription]:
        """Return the subscriptions that *signals* may be for."""
        names = list({signal.throw.name for signal in signals})
        rows = await session.fetch(_SQL.candidates, names, signals[0].id, signals[-1].id)
        return [read_subscription(row) for row in rows]

    async def _match(
        self, session: Session, signals: Sequence[Signal], candidates: Sequence[Subscription]
    ) -> list[tuple[Signal, Subscription]]:
        """Return what is owed; `once` subscriptions are consumed by the first of *signals* that matches."""
        exact: dict[str, list[Subscription]] = defaultdict(list)
        patterns: list[Subscription] = []
        for candidate in candidates:
            (patterns if is_pattern(candidate.terms.name) else exact[candidate.terms.name]).append(candidate)
        matched = [
            (signal, candidate)
            for signal in signals
            for candidate in (*exact[signal.throw.name], *patterns)
            if candidate.mismatch(signal) is None
        ]
        return await self._consume(session, matched)

    async def _consume(
        self, session: Session, matched: list[tuple[Signal, Subscription]]
    ) -> list[tuple[Signal, Subscription]]:
        first: dict[int, int] = {}
        for signal, subscription in matched:
            if subscription.terms.once:
                first.setdefault(subscription.id, signal.id)
        if not first:
            return matched
        rows = await session.fetch(_SQL.consume, list(first.keys()), list(first.values()))
        consumed = {row["id"] for row in rows}
        return [
            (signal, subscription)
            for signal, subscription in matched
            if not subscription.terms.once or (subscription.id in consumed and first[subscription.id] == signal.id)
        ]

    async def _owe(
        self,
        session: Session,
        matched: Sequence[tuple[Signal, Subscription]],
        expired: Collection[int],
        look_after: timedelta,
    ) -> list[Due]:
        dues = []
        for start in range(0, len(matched), _ROWS):
            dues += await self._insert_deliveries(session, matched[start : start + _ROWS], expired, look_after)
        return dues

    async def _insert_deliveries(
        self,
        session: Session,
        matched: Sequence[tuple[Signal, Subscription]],
        expired: Collection[int],
        look_after: timedelta,
    ) -> list[Due]:
        first = [_first_state(signal, subscription, expired) for signal, subscription in matched]
        keys = [signal.throw.ordering_key if subscription.terms.ordered else None for signal, subscription in matched]
        await session.execute(
            _SQL.insert_deliveries,
            [signal.id for signal, _ in matched],
            [subscription.id for _, subscription in matched],
            [state for state, _, _ in first],
            [reason for _, reason, _ in first],
            [until for _, _, until in first],
            keys,
            [subscription.terms.target.app for _, subscription in matched],
            look_after.total_seconds(),
        )
        return [
            Due(signal.id, subscription.id, 1, attempt_queue(subscription.terms.target.app))
            for (signal, subscription), (state, _, _) in zip(matched, first, strict=True)
            if state == "pending"
        ]

    async def take_scheduled(self, *, limit: int, look_after: timedelta) -> tuple[list[Signal], list[int]]:
        """Return at most *limit* scheduled signals whose moment has come, and the ids of those that expired before.

        Unless `end_schedule` is told about one within *look_after*, it is returned again.
        """
        rows = await self._database.fetch(_SQL.take_scheduled, limit, look_after.total_seconds())
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
        start = await self._database.fetchrow(_SQL.start_page, after_id, since)
        assert start is not None  # noqa: S101  (it returns one row)
        rows = await self._database.fetch(
            _SQL.list_signals,
            start["position"],
            None if start["known"] else after_id,
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


async def find_span(database: Database, since: datetime | None, until: datetime | None) -> tuple[int, int | None]:
    """Return the ids between which all signals lie that were accepted at *since* or later and before *until*.

    Both are theirs, too; there may be others between them. Without an end the second one is None.
    """
    if since is None and until is None:
        return 1, None
    row = await database.fetchrow(_SQL.span, since, until)
    assert row is not None  # noqa: S101  (it returns one row)
    return row["first_id"], row["last_id"]


def _first_state(
    signal: Signal, subscription: Subscription, expired: Collection[int]
) -> tuple[str, str | None, datetime | None]:
    """Return the state in which *signal* is owed to *subscription* at first, why, and until when it is parked."""
    if subscription.until is not None:  # it was deleted after the signal was accepted: owed all the same, and let go
        return "cancelled", DELETED, None
    if signal.id in expired:
        return "cancelled", "expired", None
    if signal.is_scheduled:
        return "parked", Reason.SCHEDULED.value, signal.throw.deliver_at
    if subscription.terms.ordered and signal.throw.ordering_key is not None:
        return "parked", Reason.ORDERED.value, None
    return "pending", None, None
