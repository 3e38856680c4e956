"""Pacing in PostgreSQL: deliveries that wait for `max_per_second` get their reservations, the oldest signal's first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from broker.deliveries import DueAttempt
from broker.limits import HORIZON, NOTICE, Rate
from broker.store.deliveries.contenders import Contender, read_contenders
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_due_attempts

_SUBSCRIPTIONS = 200
"""How many subscriptions are found at a time."""
_LIMIT = 1000
"""How many deliveries of each it takes at most."""


class _Sql(Statements, file="pacing.sql"):
    find: Statement
    lock_free: Statement
    lock: Statement
    take: Statement
    save: Statement


@dataclass(frozen=True, slots=True)
class Waiting:
    """What may get reservations now.

    Args:
        contender: The subscription.
        most: How many of its deliveries could get one, from 1.
    """

    contender: Contender
    most: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """What one sweep came to.

    Args:
        due_attempts: The attempts that have reservations now, those of a subscription the earliest first; those of one
            whose limit was removed have none, and may be made now.
        now: The store's clock; None if nothing was waiting.
        more: Whether there may be more that could have got one.
    """

    due_attempts: tuple[DueAttempt, ...] = ()
    now: datetime | None = None
    more: bool = False


class PacingStore:
    """Gives out reservations.

    Args:
        database: Where the deliveries are.
        limit: How many deliveries of a subscription get one at a time.
    """

    def __init__(self, database: Database, *, limit: int = _LIMIT) -> None:
        self._database = database
        self._limit = limit

    async def find(self, *, without_apps: Collection[str] = ()) -> Mapping[int, Waiting]:
        """Return subscriptions whose deliveries wait for reservations that can be given out now, in no order.

        If these are many, tenants take turns. Those for the workers of *without_apps* ('': of no app) are left out.
        """
        rows = await self._database.fetch(
            _Sql.find, limit=_SUBSCRIPTIONS, horizon=HORIZON.total_seconds(), without_apps=list(without_apps)
        )
        most = {row["subscription_id"]: max(1, self._most(_read_rate(row), row["now"])) for row in rows}
        return {key: Waiting(contender, most[key]) for key, contender in read_contenders(rows).items()}

    async def reserve(self, limits: Mapping[int, int], *, rescue_after: timedelta) -> Reserved:
        """Give the next reservations to deliveries of subscriptions that wait for them, to so many of each at most.

        They are for the next moments (`broker.limits.HORIZON`), so a changed limit holds at once. A delivery is pending
        from then on.
        """
        if not limits:
            return Reserved()
        reserved, locked = await self._reserve_for(_Sql.lock_free, limits, rescue_after)
        if locked == limits.keys():
            return reserved
        # On the others a session decides at this moment. At a busy one that is always so, hence the wait.
        left = {key: limit for key, limit in limits.items() if key not in locked}
        others, _ = await self._reserve_for(_Sql.lock, left, rescue_after)
        due_attempts = (*reserved.due_attempts, *others.due_attempts)
        return Reserved(due_attempts, others.now or reserved.now, more=reserved.more or others.more)

    async def _reserve_for(
        self, lock: Statement, most: Mapping[int, int], rescue_after: timedelta
    ) -> tuple[Reserved, AbstractSet[int]]:
        """Give reservations to deliveries of the subscriptions that *lock* locks; return these, too."""
        async with self._database.transaction() as session:
            gates = await session.fetch(lock, subscription_ids=sorted(most))
            rates = {row["subscription_id"]: _read_rate(row) for row in gates}
            if not rates:
                return Reserved(), set()
            now = max(row["now"] for row in gates)
            limits = {key: min(self._most(rate, now), most[key]) for key, rate in rates.items()}
            taken = await session.fetch(
                _Sql.take,
                subscription_ids=list(limits),
                limits=list(limits.values()),
                rescue_after=rescue_after.total_seconds(),
            )
            due_attempts = _reserve(read_due_attempts(taken), rates, now)
            counts = Counter(due.subscription_id for due in due_attempts)
            await session.execute(
                _Sql.save,
                subscription_ids=list(rates),
                slot_at=[
                    row["slot_at"] if (rate := rates[row["subscription_id"]]) is None else rate.slot_at for row in gates
                ],
                waiting=[counts[key] == limits[key] for key in rates],
            )
        return Reserved(due_attempts, now, more=any(counts[key] == self._limit for key in rates)), rates.keys()

    def _most(self, rate: Rate | None, now: datetime) -> int:
        return self._limit if rate is None else min(rate.free(now), self._limit)


def _read_rate(row: Row) -> Rate | None:
    return None if row["max_per_second"] is None else Rate(row["max_per_second"], row["slot_at"], waiting=True)


def _reserve(due_attempts: list[DueAttempt], rates: dict[int, Rate | None], now: datetime) -> tuple[DueAttempt, ...]:
    """Return the attempts with their reservations, the earliest first."""
    reserved = []
    for due in sorted(due_attempts, key=lambda due: due.signal_id):
        rate = rates[due.subscription_id]
        reserved.append(due if rate is None else replace(due, at=rate.reserve(now + NOTICE)))
    return tuple(sorted(reserved, key=lambda due: due.at or now))
