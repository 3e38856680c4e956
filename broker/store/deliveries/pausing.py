"""Pausing in PostgreSQL: subscriptions are paused and resumed, and what waits meanwhile goes on or is ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.access import ADMINISTRATOR, Principal
from broker.admission import disabled_clause
from broker.audit import AuditType
from broker.circuits import LASTING
from broker.deliveries import DELETED, DeliveryState, DueAttempt
from broker.limits import CatchUp
from broker.store.administration.audit import change_administration
from broker.store.deliveries.admission import admit_waiting, lock_admission, lock_free_admission, note_recall
from broker.store.deliveries.circuits import drop_circuits, forget_circuits
from broker.store.deliveries.contenders import Contender, read_contenders
from broker.store.deliveries.leases import tell_leasable
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_subscription
from broker.subscriptions import Subscription

_SUBSCRIPTIONS = 50
"""How many subscriptions one sweep looks at."""
_LIMIT = 1000
"""How many deliveries one sweep schedules, recalls or ends: so many are quick."""


class _Sql(Statements, file="pausing.sql"):
    pause: Statement
    resume: Statement
    find_waiting: Statement
    conditions: Statement
    end_waiting: Statement
    backlog: Statement
    recall: Statement
    set_due: Statement
    save_catch_up: Statement
    drop_expired_slots: Statement
    clear_waiting: Statement
    census: Statement
    forget_slots: Statement


class Swept(NamedTuple):
    """What one sweep came to.

    Args:
        due_attempts: The attempts that may be made now.
        done: How many deliveries it let go on, scheduled or ended.
    """

    due_attempts: list[DueAttempt]
    done: int


class Census(NamedTuple):
    """What waits for targets.

    Args:
        circuits: How many circuits are not closed.
        lasting: How many of them have opened until they may be open for the longest, and are waited for.
        waiting_seconds: For how long the oldest waiting delivery has been owed.
    """

    circuits: int
    lasting: int
    waiting_seconds: float


class PausingStore:
    """Pauses and resumes subscriptions, and releases waiting deliveries.

    Args:
        database: Where they are.
        limit: How many deliveries one sweep schedules, recalls or ends. Its subscriptions share them equally.
    """

    def __init__(self, database: Database, *, limit: int = _LIMIT) -> None:
        self._database = database
        self._limit = limit

    async def pause(self, subscription_id: int, *, by: Principal = ADMINISTRATOR) -> Subscription | None:
        """Pause a subscription; return it, or None if there is none.

        From now on admission defers its deliveries, and the sweep releases none of them.
        """
        async with change_administration(self._database, by) as change:
            row = await change.session.fetchrow(_Sql.pause, subscription_id=subscription_id)
            if row is None:
                return None
            before, after = {"paused": row["was_paused"]}, {"paused": True}
            await change.note(AuditType.SUBSCRIPTION_PAUSED, subscription_id, before=before, after=after)
        return read_subscription(row)

    async def resume(
        self, subscription_id: int, *, per_second: float | None, by: Principal = ADMINISTRATOR
    ) -> Subscription | None:
        """Let a paused or disabled subscription get its deliveries again; return it, or None if there is none.

        Its backlog is released at *per_second*, the oldest first; None ramps up. Its targets are tried again at once,
        even if they seemed to be down or had asked for no requests, and what waits for them goes on.
        """
        async with change_administration(self._database, by) as change:
            session = change.session
            await lock_admission(session, [subscription_id])
            await drop_circuits(session, subscription_id)
            row = await session.fetchrow(_Sql.resume, subscription_id=subscription_id, per_second=per_second)
            await note_recall(session, [subscription_id])
            if row is None:
                return None
            await tell_leasable(session, [subscription_id])
            before = {"paused": row["was_paused"], "disabledBecause": row["was_disabled_because"]}
            after = {"paused": False, "disabledBecause": None, "perSecond": per_second}
            await change.note(AuditType.SUBSCRIPTION_RESUMED, subscription_id, before=before, after=after)
        return read_subscription(row)

    async def close_circuits(self, subscription_id: int, *, by: Principal = ADMINISTRATOR) -> None:
        """Let the targets of a subscription be tried again at once, and what waits for them go on."""
        async with change_administration(self._database, by) as change:
            await lock_admission(change.session, [subscription_id])
            dropped = await drop_circuits(change.session, subscription_id)
            await note_recall(change.session, [subscription_id])
            before, after = {"circuits": dropped}, {"circuits": 0}
            await change.note(AuditType.SUBSCRIPTION_CIRCUIT_CLOSED, subscription_id, before=before, after=after)

    async def find(self) -> dict[int, Contender]:
        """Return subscriptions that may have waiting deliveries to go on, or to be ended: the next few, in no order."""
        return read_contenders(await self._database.fetch(_Sql.find_waiting, limit=_SUBSCRIPTIONS))

    async def sweep(self, limits: Mapping[int, int], *, rescue_after: timedelta) -> Swept:
        """Let waiting deliveries of subscriptions go on that may, unless another session decides on them.

        The backlog of a pause is scheduled a part at a time, and concurrency slots whose leases have ended are given to
        other deliveries: to so many of each subscription as *limits* says. Deliveries of a disabled subscription are
        given up, and those of a deleted one cancelled.
        """
        if not limits:
            return Swept([], 0)
        each = max(1, self._limit // len(limits))
        async with self._database.transaction() as session:
            states = await lock_free_admission(session, limits)
            conditions = await session.fetch(_Sql.conditions, subscription_ids=list(states))
            ends = {row["id"]: end for row in conditions if (end := _end(row)) is not None}
            done = await _end_waiting(session, ends, each)
            active = {row["id"]: row["now"] for row in conditions if row["id"] not in ends and not row["paused"]}
            done += await _catch_up(session, {key: (states[key], now) for key, now in active.items()}, each)
            recalled = [key for key, row in states.items() if row["recalling"]]
            await session.execute(_Sql.recall, subscription_ids=recalled, limit=each)
            await session.execute(_Sql.drop_expired_slots, subscription_ids=list(states))
            due_attempts = await admit_waiting(session, {key: limits[key] for key in active}, rescue_after=rescue_after)
            await session.execute(_Sql.clear_waiting, subscription_ids=[*ends, *active])
        return Swept(due_attempts, done + len(due_attempts))

    async def forget(self) -> None:
        """Forget circuits that no attempt touches any more, and concurrency slots whose leases ended long ago."""
        await forget_circuits(self._database)
        await self._database.execute(_Sql.forget_slots)

    async def census(self) -> Census:
        """Count the circuits, and find the oldest waiting delivery."""
        row = await self._database.fetchrow(_Sql.census, lasting=LASTING)
        assert row is not None  # noqa: S101  (it returns one row)
        return Census(row["circuits"], row["lasting"], float(row["waiting_seconds"] or 0))


def _end(condition: Row) -> tuple[DeliveryState, str] | None:
    """Return the final state, and the reason, for deliveries of a deleted or disabled subscription."""
    if condition["deleted"]:
        return DeliveryState.CANCELLED, DELETED
    if condition["disabled_because"]:
        return DeliveryState.DEAD, disabled_clause(condition["disabled_because"])
    return None


async def _end_waiting(session: Session, ends: Mapping[int, tuple[DeliveryState, str]], limit: int) -> int:
    """Put waiting deliveries of subscriptions into their final states, a part at a time; return how many."""
    if not ends:
        return 0
    ended: int = await session.fetchval(
        _Sql.end_waiting,
        subscription_ids=list(ends),
        states=[state.value for state, _ in ends.values()],
        reasons=[reason for _, reason in ends.values()],
        limit=limit,
    )
    return ended


async def _catch_up(session: Session, states: Mapping[int, tuple[Row, datetime]], limit: int) -> int:
    """Schedule the next part of the backlog of subscriptions, whose rows of ``gates`` and clock are given.

    Return how many deliveries that are.
    """
    catching = {
        key: CatchUp(row["catch_up"], row["caught_up"], row["caught_up_at"]) for key, (row, _) in states.items()
    }
    limits = {key: min(catch_up.due(states[key][1]), limit) for key, catch_up in catching.items()}
    rows = await session.fetch(_Sql.backlog, subscription_ids=list(limits), limits=list(limits.values()))
    if rows:
        await session.execute(
            _Sql.set_due,
            signal_ids=[row["signal_id"] for row in rows],
            subscription_ids=[row["subscription_id"] for row in rows],
            due_at=[catching[row["subscription_id"]].next(states[row["subscription_id"]][1]) for row in rows],
        )
        await session.execute(
            _Sql.save_catch_up,
            subscription_ids=list(catching),
            done=[catch_up.done for catch_up in catching.values()],
            at=[catch_up.at for catch_up in catching.values()],
        )
    return len(rows)
