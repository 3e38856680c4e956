"""Wide signals: what more subscriptions match than one transaction should record is recorded in chunks.

    the signal, and what ------> a chunk ------> a chunk ------> what filters find now, the end
    filters find                 (by the ids of subscriptions)

Each arrow is a transaction of its own that takes the cursor with it: after a crash, or beside another recorder, the
recording goes on at the cursor. Whether a subscription is owed the signal depends on the id of the signal as ever. One
that is changed while the recording is under way may be seen as it was before or after that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from broker.deliveries import DELETED, EXPIRED, DeliveryState, Reason
from broker.matching import Matcher
from broker.names import matches as name_matches
from broker.names import pattern_keys
from broker.signals import Signal
from broker.store.deliveries.owing import NewDelivery, owe
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_candidate, read_signal
from broker.store.signals.matches import Limits, Matches, Outdated, find_filtered


class _Sql(Statements, file="wide.sql"):
    begin: Statement
    find: Statement
    unfinished: Statement
    cursor: Statement
    page: Statement
    special: Statement
    lock: Statement
    owed: Statement
    owe: Statement
    note: Statement
    go_on: Statement


NEEDED_TO_RECORD = tuple(statement for statement in _Sql.every() if statement is not _Sql.unfinished)
"""What a recording carries out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one transaction of a wide recording decides about.

    Args:
        after_id: The cursor that it goes on from.
        last_id: The last subscription that was looked at; None: there are no more.
        names: The names of the subscriptions that may be owed the signal.
        plain: Those that are owed it if their names match.
        special: How the matcher decided about the others.
        is_expired: Whether the signal has expired.
    """

    after_id: int
    last_id: int | None
    names: Sequence[str]
    plain: Sequence[int]
    special: Matches
    is_expired: bool


async def begin(session: Session, signal: Signal, *, everything: bool) -> None:
    """Note that *signal*, which is being recorded, goes on in chunks; *everything*: through all subscriptions."""
    await session.execute(_Sql.begin, signal_id=signal.id, everything=everything)


async def find_wide(session: Session, signal_ids: Collection[int]) -> Mapping[int, bool]:
    """Return which of recorded signals are recorded in chunks, each with whether that is finished."""
    rows = await session.fetch(_Sql.find, signal_ids=signal_ids)
    return {row["signal_id"]: row["finished"] for row in rows}


async def find_unfinished(database: Database, *, limit: int) -> list[tuple[Signal, int]]:
    """Return at most *limit* signals of which chunks remain to be recorded, each with its cursor."""
    rows = await database.fetch(_Sql.unfinished, limit=limit)
    return [(read_signal(row), row["after_id"]) for row in rows]


async def find_chunk(database: Database, matcher: Matcher, signal: Signal, limits: Limits) -> Chunk | None:
    """Return the next chunk of a *signal* that is recorded in chunks, matched; None if that is finished."""
    cursor = await database.fetchrow(_Sql.cursor, signal_id=signal.id, expires_at=signal.throw.expires_at)
    if cursor is None:
        return None
    page = await database.fetchrow(
        _Sql.page,
        keys=[] if cursor["everything"] else sorted(pattern_keys(signal.throw.name)),
        name=signal.throw.name,
        everything=cursor["everything"],
        after_id=cursor["after_id"],
        limit=limits.chunk,
        signal_id=signal.id,
        **_reach(signal),
    )
    assert page is not None  # noqa: S101  (it is an aggregate)
    names = page["names"] or []
    matching = [name for name in names if name_matches(name, signal.throw.name)]
    rows: Sequence[Row] = ()
    if page["special"]:
        rows = await database.fetch(_Sql.special, subscription_ids=page["special"], names=matching)
    if page["last_id"] is None and not cursor["everything"]:
        special = await find_filtered(database, matcher, signal, limits)
    else:
        special = await _match(matcher, signal, rows)
    return Chunk(
        after_id=cursor["after_id"],
        last_id=page["last_id"],
        names=names,
        plain=page["plain"] or [],
        special=special,
        is_expired=cursor["expired"],
    )


async def _match(matcher: Matcher, signal: Signal, rows: Sequence[Row]) -> Matches:
    async with matcher.slice() as turn:
        result = await matcher.match(signal, [read_candidate(row) for row in rows], turn)
        signal.context.forget()
    return Matches(
        signals=[signal],
        left=[],
        versions={row["id"]: row["version"] for row in rows},
        matching=[(signal, subscription) for subscription in result.matching],
        exceeded=[(signal, subscription) for subscription in result.exceeded],
    )


async def lock(session: Session, signal: Signal, chunk: Chunk, wanted: Collection[int]) -> set[int] | None:
    """Lock what *signal* is owed to; return which of the *wanted* subscriptions it is owed to already.

    None: another recorder went on with it since the *chunk* was found.
    """
    row = await session.fetchrow(_Sql.lock, signal_id=signal.id, after_id=chunk.after_id)
    if row is None:
        return None
    if not wanted:
        return set()
    rows = await session.fetch(_Sql.owed, signal_id=signal.id, subscription_ids=wanted)
    return {row["subscription_id"] for row in rows}


async def record_chunk(
    session: Session, signal: Signal, chunk: Chunk, special: Sequence[NewDelivery], *, rescue_after: timedelta
) -> int:
    """Owe *signal*, which is locked, to the plain subscriptions of *chunk*, and *special* deliveries; return how many.

    Raises:
        Outdated: A subscription that was plain is so no more.
    """
    ids = [delivery.subscription_id for delivery in special]
    if chunk.plain:
        throw = signal.throw
        row = await session.fetchrow(
            _Sql.owe,
            plain=chunk.plain,
            names=chunk.names,
            matching=[name for name in chunk.names if name_matches(name, throw.name)],
            signal_id=signal.id,
            reason=(Reason.SCHEDULED if signal.is_scheduled else Reason.SHARE).value,
            if_deleted=DELETED,
            if_expired=EXPIRED,
            due_at=throw.deliver_at if signal.is_scheduled else signal.created_at,
            expires_at=throw.expires_at,
            **_reach(signal),
        )
        assert row is not None  # noqa: S101  (it is no list)
        if row["changed"]:
            raise Outdated
        ids += row["subscription_ids"]
    if special:
        await owe(session, special, rescue_after=rescue_after)
    await session.execute(_Sql.note, signal_id=signal.id, subscription_ids=ids)
    await session.execute(_Sql.go_on, signal_id=signal.id, last_id=chunk.last_id)
    return len(ids)


def put_off(delivery: NewDelivery, signal: Signal) -> NewDelivery:
    """Return *delivery* of a wide signal: released by and by, like others that are due, if it were pending."""
    if delivery.state is not DeliveryState.PENDING:
        return delivery
    return replace(delivery, state=DeliveryState.PARKED, reason=Reason.SHARE, due_at=signal.created_at)


def _reach(signal: Signal) -> dict[str, object]:
    """Return what `page` and `owe` decide by which subscriptions the signal is for."""
    throw = signal.throw
    return {
        "scope": throw.scope.value,
        "tenant_id": throw.tenant_id,
        "execution_id": throw.execution_id,
        "audience": throw.audience,
        "ordered": throw.ordering_key is not None,
    }
