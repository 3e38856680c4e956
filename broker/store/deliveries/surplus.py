"""Surplus in PostgreSQL: deliveries beyond their share of the attempts wait there until they are recalled."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import NamedTuple, Self

from broker.coalescing import Coalescer
from broker.deliveries import DueAttempt
from broker.store.deliveries.admission import free_slots, lock_admission, lock_free_admission
from broker.store.deliveries.attempts import interrupt
from broker.store.deliveries.contenders import Contender, read_contenders, read_tenants
from broker.store.deliveries.presence import Presence
from broker.store.postgres.database import Database
from broker.store.postgres.rehearsal import rehearse
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_due_attempts
from broker.subscriptions import Subscription
from broker.targets import origin_of


class _Sql(Statements, file="surplus.sql"):
    routes: Statement
    mark: Statement
    put_off: Statement
    find: Statement
    recall: Statement
    unmark: Statement


class Route(NamedTuple):
    """What an attempt counts towards.

    Args:
        tenants: Those that the subscription belongs to; None: to none.
        hosts: Scheme, host and port of each webhook that it may call.
        subscription_id: The subscription.
    """

    tenants: tuple[str, ...] | None
    hosts: tuple[str, ...]
    subscription_id: int


def route_of(subscription: Subscription) -> Route:
    """Return what the attempts at deliveries of *subscription* count towards."""
    return _route(subscription.id, subscription.tenants, [target.circuit for target in subscription.spec.targets])


def _route(subscription_id: int, tenants: tuple[str, ...] | None, urls: Sequence[str | None]) -> Route:
    hosts = dict.fromkeys(origin_of(url) for url in urls if url is not None)
    return Route(tenants, tuple(hosts), subscription_id)


class PutOff(NamedTuple):
    """A delivery to put off.

    Args:
        due: The attempt that may not be made now.
        redelivered: Whether its message was handed out before.
    """

    due: DueAttempt
    redelivered: bool = False


@dataclass(frozen=True, slots=True)
class Recalled:
    """Deliveries that go on.

    Args:
        due_attempts: The attempts to make, those of the oldest signals first.
        done: The subscriptions that have no more surplus.
    """

    due_attempts: Sequence[DueAttempt]
    done: frozenset[int]


class SurplusStore:
    """Puts deliveries off and recalls them. An async context manager; calls that coincide share their round trips.

    Args:
        database: Where the deliveries are.
        presence: The deliverer.
        rescue_after: When the message of a recalled delivery is given up for lost.
    """

    def __init__(self, database: Database, presence: Presence, *, rescue_after: timedelta) -> None:
        self._database = database
        self._presence = presence
        self._rescue_after = rescue_after
        self._routes: Coalescer[int, Route] = Coalescer(self._read_routes)
        self._puts: Coalescer[PutOff, None] = Coalescer(self._put_off)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._routes)
        await self._stack.enter_async_context(self._puts)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def rehearse(self) -> None:
        """Return if deliveries could be put off and recalled now.

        Raises:
            StoreUnavailable: They could not.
        """
        await rehearse(self._database, _Sql.every())

    async def route(self, subscription_id: int) -> Route:
        """Return what the attempts of a subscription count towards; of one that was forgotten, to itself alone."""
        return await self._routes.submit(subscription_id)

    async def put_off(self, due: DueAttempt, *, redelivered: bool = False) -> None:
        """Park the delivery until it is recalled, if the attempt is still due; it is not counted as one.

        If its message was *redelivered*, it may have been begun before. Then it is left alone if it has ended, or
        another deliverer is making it; else it is noted as interrupted.
        """
        await self._puts.submit(PutOff(due, redelivered))

    async def find(self, apps: Collection[str], *, limit: int, after_id: int = 0) -> dict[int, Contender]:
        """Return at most *limit* subscriptions, the next ones after *after_id*, that may have surplus for *apps*.

        These are the apps whose workers make the attempts; ``""`` stands for none.
        """
        rows = await self._database.fetch(_Sql.find, apps=list(apps), limit=limit, after_id=after_id)
        return read_contenders(rows)

    async def recall(self, limits: Mapping[int, int]) -> Recalled:
        """Let the oldest surplus deliveries go on, of each subscription as many as *limits* says.

        Subscriptions on which another session decides at this moment are left out.
        """
        async with self._database.transaction() as session:
            locked = list(await lock_free_admission(session, limits))
            if not locked:
                return Recalled((), frozenset())
            rows = await session.fetch(
                _Sql.recall,
                subscription_ids=locked,
                limits=[limits[key] for key in locked],
                rescue_after=self._rescue_after.total_seconds(),
            )
            done = await session.fetch(_Sql.unmark, subscription_ids=locked)
        due_attempts = sorted(read_due_attempts(rows), key=lambda due: (due.signal_id, due.subscription_id))
        return Recalled(due_attempts, frozenset(row["subscription_id"] for row in done))

    async def _read_routes(self, batch: Sequence[int]) -> list[Route]:
        rows = await self._database.fetch(_Sql.routes, subscription_ids=list(set(batch)))
        routes = {row["id"]: _route(row["id"], read_tenants(row), row["urls"]) for row in rows}
        return [routes.get(key) or Route(None, (), key) for key in batch]

    async def _put_off(self, batch: Sequence[PutOff]) -> list[None]:
        ascending = sorted(batch, key=lambda one: one.due.signal_id)  # the statement looks from the first one on
        async with self._database.transaction() as session:
            states = await lock_admission(session, {one.due.subscription_id for one in batch})
            unmarked = [key for key, state in states.items() if not state["surplus"]]
            if unmarked:
                await session.execute(_Sql.mark, subscription_ids=unmarked)
            redelivered = [one.due for one in batch if one.redelivered]
            if redelivered:
                await interrupt(session, redelivered, by=self._presence.id)
            await session.execute(
                _Sql.put_off,
                signal_ids=[one.due.signal_id for one in ascending],
                subscription_ids=[one.due.subscription_id for one in ascending],
                numbers=[one.due.attempt for one in ascending],
                redelivered=[one.redelivered for one in ascending],
            )
            await free_slots(session, [one.due for one in batch])
        return [None] * len(batch)
