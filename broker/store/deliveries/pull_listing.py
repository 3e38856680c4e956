"""Lists of the deliveries to pull targets that are owed or dead."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.access import Principal
from broker.deliveries import DeliveryState, delivery_id
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import SubscriptionReader
from broker.store.sight import sight_of_subscriptions
from broker.subscriptions import Subscription

STANDINGS = frozenset({"leasable", "leased", "parked", "dead"})
"""Where such a delivery stands: the first two are pending."""
MOST_OF_EXECUTIONS = 10_000
"""How many deliveries of signals to executions are looked at."""


class _Sql(Statements, file="pull_listing.sql"):
    subscriptions: Statement
    find: Statement
    count: Statement
    of_keys: Statement
    of_executions: Statement
    errors: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFilter:
    """Which deliveries are asked for; None: it does not matter.

    Args:
        standings: Those of `STANDINGS` that they have.
        keys: The ids of their signals and subscriptions.
        execution_ids: The executions that their signals are to.
        worker: Who has leased them.
        since: Their leases end at that moment or later.
        until: They end at that moment or earlier.
    """

    standings: Collection[str] = STANDINGS
    keys: Collection[tuple[int, int]] | None = None
    execution_ids: Collection[str] | None = None
    worker: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullDelivery:
    """A delivery to a pull target.

    Args:
        signal_id: Its signal.
        subscription: What it is owed to.
        standing: One of `STANDINGS`.
        created_at: When its signal was recorded.
        failures: How many attempts have failed that the schedule counts.
        leased_until: When its lease ends; None: it is not leased.
        worker: Who has leased it, as the caller said.
        error: What its last attempt failed of, if that is known.
        business_key: That of its signal.
        execution_id: The execution that its signal is to.
    """

    signal_id: int
    subscription: Subscription
    standing: str
    created_at: datetime
    failures: int
    leased_until: datetime | None
    worker: str | None
    error: str | None
    business_key: str | None
    execution_id: str | None

    @property
    def id(self) -> str:
        """The delivery's id."""
        return delivery_id(self.signal_id, self.subscription.id)


class TooMany(Exception):
    """Raised when more deliveries are of signals to the executions that are asked for than can be looked at."""


class PullListing:
    """Lists deliveries to pull targets.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = SubscriptionReader()

    async def subscriptions(
        self, *, by: Principal, limit: int, name: str | None = None, subscription_id: int | None = None
    ) -> list[Subscription]:
        """Return at most *limit* subscriptions with a pull target whose deliveries *by* may see, of that name or id."""
        sight = await sight_of_subscriptions(self._database, by)
        rows = await self._database.fetch(_Sql.subscriptions, name=name, id=subscription_id, limit=limit, **sight)
        return [self._reader.read(row) for row in rows]

    async def get(self, key: tuple[int, int], *, by: Principal) -> PullDelivery | None:
        """Return the delivery with that *key*, if it is owed or dead, and *by* may see it."""
        of = await self.subscriptions(by=by, limit=1, subscription_id=key[1])
        found = await self.find(of, PullFilter(keys=[key]), first=0, most=1, descending=False)
        return found[0] if found else None

    async def find(
        self, of: Sequence[Subscription], wanted: PullFilter, *, first: int, most: int, descending: bool
    ) -> list[PullDelivery]:
        """Return at most *most* of the *wanted* deliveries of some subscriptions, in the order of their ids.

        The first ones are left out, *first* of them. *descending*: the opposite order.

        Raises:
            TooMany: The executions that are asked for have too many.
        """
        few = await self._few(of, wanted)
        if few is not None:
            few.sort(key=lambda one: (one.signal_id, one.subscription.id), reverse=descending)
            return few[first : first + most]
        rows = await self._database.fetch(
            _Sql.find.naming(direction="DESC" if descending else "ASC"), first=first, most=most, **_given(of, wanted)
        )
        return _read(rows, of)

    async def count(self, of: Sequence[Subscription], wanted: PullFilter) -> int:
        """Return how many of the *wanted* deliveries some subscriptions have.

        Raises:
            TooMany: As for `find`.
        """
        few = await self._few(of, wanted)
        return int(await self._database.fetchval(_Sql.count, **_given(of, wanted))) if few is None else len(few)

    async def errors(self, attempts: Sequence[tuple[int, int, int]]) -> dict[tuple[int, int], str]:
        """Return the errors of *attempts* (signal, subscription, number), those that have one, by delivery."""
        if not attempts:
            return {}
        signal_ids, ids, numbers = map(list, zip(*attempts, strict=True))
        rows = await self._database.fetch(_Sql.errors, signal_ids=signal_ids, ids=ids, numbers=numbers)
        return {(row["signal_id"], row["subscription_id"]): row["error"] for row in rows}

    async def _few(self, of: Sequence[Subscription], wanted: PullFilter) -> list[PullDelivery] | None:
        """Return what is *wanted*, if that is known by keys or executions; else None."""
        ids = [one.id for one in of]
        if wanted.keys is not None:
            signal_ids, of_ids = [key[0] for key in wanted.keys], [key[1] for key in wanted.keys]
            rows = await self._database.fetch(_Sql.of_keys, signal_ids=signal_ids, ids=of_ids, subscription_ids=ids)
        elif wanted.execution_ids is not None:
            rows = await self._database.fetch(
                _Sql.of_executions,
                execution_ids=list(wanted.execution_ids),
                subscription_ids=ids,
                limit=MOST_OF_EXECUTIONS + 1,
            )
            if len(rows) > MOST_OF_EXECUTIONS:
                raise TooMany
        else:
            return None
        return [one for one in _read(rows, of) if _fits(one, wanted)]


def _given(of: Sequence[Subscription], wanted: PullFilter) -> dict[str, object]:
    return {
        "subscription_ids": [one.id for one in of],
        **{standing: standing in wanted.standings for standing in STANDINGS},
        "worker": wanted.worker,
        "since": wanted.since,
        "until": wanted.until,
    }


def _fits(one: PullDelivery, wanted: PullFilter) -> bool:
    return (
        one.standing in wanted.standings
        and (wanted.execution_ids is None or one.execution_id in wanted.execution_ids)
        and (wanted.worker is None or one.worker == wanted.worker)
        and (wanted.since is None or (one.leased_until is not None and one.leased_until >= wanted.since))
        and (wanted.until is None or (one.leased_until is not None and one.leased_until <= wanted.until))
    )


def _read(rows: Sequence[Row], of: Sequence[Subscription]) -> list[PullDelivery]:
    known = {one.id: one for one in of}
    return [
        PullDelivery(
            signal_id=row["signal_id"],
            subscription=known[row["subscription_id"]],
            standing=_standing(row),
            created_at=row["created_at"],
            failures=row["attempts"] - row["redriven"] - (1 if row["leased"] else 0),
            leased_until=row["due_at"] if row["leased"] else None,
            worker=row["worker"],
            error=row["error"],
            business_key=row["business_key"],
            execution_id=row["execution_id"],
        )
        for row in rows
    ]


def _standing(row: Row) -> str:
    if row["leased"]:
        return "leased"
    return "leasable" if row["state"] == DeliveryState.PENDING else str(row["state"])
