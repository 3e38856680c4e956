"""Lists of deliveries: filtered, in either order, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from broker.access import Principal
from broker.deliveries import NO_OUTCOME, Delivery, DeliveryState, Outcome, Result
from broker.integers import MAX_ID
from broker.names import expression, is_pattern
from broker.store.pages import ASCENDING, DESCENDING, Looked, Page, read_page
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_delivery, read_targets
from broker.store.sight import sight_of_signals
from broker.store.spans import find_span
from broker.targets import Target

Key = tuple[int, int]
"""The ids of a delivery's signal and subscription."""
_RARE = 5_000
"""Deliveries of a name with fewer signals are looked for by these; else one comes by soon."""
_MOST_SUBSCRIPTIONS = 100
"""How many subscriptions of a tenant or a host are looked for one by one."""
_INDEXED = (DeliveryState.DEAD, DeliveryState.PARKED, DeliveryState.CANCELLED)
"""States that few deliveries of a history have; each has an index in the order of ids."""


class _Sql(Statements, file="listing.sql"):
    find: Statement
    find_of_subscriptions: Statement
    find_pending: Statement
    find_pending_of_subscriptions: Statement
    find_of_name: Statement
    is_rare: Statement
    subscriptions_of_tenants: Statement
    subscriptions_of_host: Statement
    look: Statement
    targets: Statement


class DeliveryFilter(TypedDict, total=False):
    """Which deliveries are asked for; without a member, or with None, it does not matter.

    *name* is that of the signal, or a pattern, and the signal was accepted at *since* or later and before *until*.
    *tenant_id* and *host* are those of the subscription and of its webhook, or its first one. *outcome* and *status*
    are those of the last attempt, which began at *attempted_since* or later and before *attempted_until*.
    """

    state: str | None
    subscription_id: int | None
    signal_id: int | None
    name: str | None
    since: datetime | None
    until: datetime | None
    tenant_id: str | None
    host: str | None
    outcome: Outcome | None
    status: int | None
    attempted_since: datetime | None
    attempted_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDelivery:
    """A delivery, and what tells people which one it is.

    Args:
        delivery: The delivery, without its attempts.
        signal_name: The signal's name.
        tenant_id: The subscription's tenant.
        targets: The subscription's target, or those of its steps, as they are now.
        last: What the last attempt that has ended came to, as far as lists show it; None without any.
    """

    delivery: Delivery
    signal_name: str
    tenant_id: str | None
    targets: tuple[Target, ...]
    last: Result | None


async def list_deliveries(
    database: Database, wanted: DeliveryFilter, *, by: Principal, after: Key | None, limit: int, descending: bool
) -> Page[ListedDelivery, Key]:
    """Return a page of the deliveries that *by* may read, in the order of their ids, or the opposite one."""
    walk = await _Walk.begin(database, wanted, by, descending=descending)
    start = after or ((MAX_ID, MAX_ID) if descending else (0, 0))
    page = await read_page(walk.find, walk.look, after=start, limit=limit)
    targets = await _read_targets(database, {row["subscription_id"] for row in page.items})
    following = page.following
    if following is not None and not by.hide_nothing:
        following = _rounded(following, start, _key(page.items[-1]) if page.items else None, descending=descending)
    return Page([_read(row, targets) for row in page.items], following)


def _rounded(following: Key, start: Key, last: Key | None, *, descending: bool) -> Key:
    """Return a key from *start* to *following* that reveals no delivery but the page's own *last* one.

    It is *following* itself if one signal has so many deliveries that the page examined nothing else.
    """
    before = (following[0], MAX_ID) if descending else (following[0], 0)
    if descending:
        return min((key for key in (before, last) if key is not None and key < start), default=following)
    return max((key for key in (before, last) if key is not None and key > start), default=following)


class _Walk:
    """A way along one index, past all deliveries that may be asked for."""

    def __init__(
        self, database: Database, statement: Statement, along: Mapping[str, object], filters: Mapping[str, object]
    ) -> None:
        self._database = database
        self._statement = statement
        self._along = along
        self._filters = filters

    @classmethod
    async def begin(cls, database: Database, wanted: DeliveryFilter, by: Principal, *, descending: bool) -> _Walk:
        """Return the way that passes the fewest deliveries."""
        first_id, end = await find_span(database, wanted.get("since"), wanted.get("until"))
        last_id = MAX_ID if end is None else end
        signal_id, state, name = wanted.get("signal_id"), wanted.get("state"), wanted.get("name")
        if signal_id is not None:
            first_id, last_id = max(first_id, signal_id), min(last_id, signal_id)
        along: dict[str, object] = {"first_id": first_id, "last_id": last_id}
        subscriptions = await _find_subscriptions(database, wanted, by)
        filters = {
            **sight_of_signals(by),
            "state": state,
            "subscription_id": wanted.get("subscription_id"),
            "names": None if name is None else expression([name]),
            "since": wanted.get("since"),
            "until": wanted.get("until"),
            "tenant_id": wanted.get("tenant_id"),
            "host": wanted.get("host"),
            "outcome": wanted.get("outcome"),
            "status": wanted.get("status"),
            "attempted_since": wanted.get("attempted_since"),
            "attempted_until": wanted.get("attempted_until"),
        }
        order = DESCENDING if descending else ASCENDING
        of_state = f"state = '{state}'" if state in _INDEXED else "true"
        if (
            signal_id is None
            and name is not None
            and not is_pattern(name)
            and await database.fetchval(_Sql.is_rare, name=name, few=_RARE)
        ):
            statement = _Sql.find_of_name.naming(beyond=order.beyond, direction=order.direction)
            return cls(database, statement, along | {"name": name}, filters)
        if state == DeliveryState.PENDING and subscriptions is not None:
            statement = _Sql.find_pending_of_subscriptions.naming(beyond=order.beyond, direction=order.direction)
            return cls(database, statement, along | {"subscription_ids": subscriptions}, filters)
        if state == DeliveryState.PENDING:
            statement = _Sql.find_pending.naming(beyond=order.beyond, direction=order.direction)
            return cls(database, statement, along, filters)
        if signal_id is None and subscriptions is not None:
            if state == DeliveryState.CANCELLED:
                of_state = "true"
            statement = _Sql.find_of_subscriptions.naming(
                beyond=order.beyond, direction=order.direction, of_state=of_state
            )
            return cls(database, statement, along | {"subscription_ids": subscriptions}, filters)
        return cls(
            database,
            _Sql.find.naming(beyond=order.beyond, direction=order.direction, of_state=of_state),
            along,
            filters,
        )

    async def find(self, after: Key, looks: int) -> list[Key]:
        """Return the keys of the next deliveries on the way; see `read_page`."""
        given = {**self._along, "after_signal_id": after[0], "after_subscription_id": after[1], "looks": looks}
        rows = await self._database.fetch(self._statement, **given)
        return [_key(row) for row in rows]

    async def look(self, keys: Sequence[Key], limit: int) -> Looked[Row, Key]:
        """Return those that are asked for, as rows; see `read_page`."""
        rows = await self._database.fetch(
            _Sql.look,
            signal_ids=[signal_id for signal_id, _ in keys],
            subscription_ids=[subscription_id for _, subscription_id in keys],
            limit=limit,
            **self._filters,
        )
        is_cut = len(rows) == limit
        return Looked(rows, _key(rows[-1]) if is_cut else keys[-1])


def _key(row: Row) -> Key:
    return row["signal_id"], row["subscription_id"]


async def _find_subscriptions(database: Database, wanted: DeliveryFilter, by: Principal) -> list[int] | None:
    """Return the subscriptions whose deliveries may be asked for, unless they are many."""
    subscription_id, tenant_id, host = wanted.get("subscription_id"), wanted.get("tenant_id"), wanted.get("host")
    if subscription_id is not None:
        return [subscription_id]
    tenants = None if tenant_id is None else {tenant_id}
    if by.tenants is not None and not by.untenanted:
        tenants = set(by.tenants) if tenants is None else tenants.intersection(by.tenants)
    most = _MOST_SUBSCRIPTIONS + 1
    if tenants is not None:
        rows = await database.fetch(_Sql.subscriptions_of_tenants, of_tenants=list(tenants), host=host, limit=most)
    elif host is not None and by.hide_nothing:
        rows = await database.fetch(_Sql.subscriptions_of_host, host=host, limit=most)
    else:
        return None
    return None if len(rows) > _MOST_SUBSCRIPTIONS else [row["id"] for row in rows]


async def _read_targets(database: Database, subscription_ids: Iterable[int]) -> dict[int, tuple[Target, ...]]:
    rows = await database.fetch(_Sql.targets, subscription_ids=list(subscription_ids))
    return {row["id"]: read_targets(row) for row in rows}


def _read(row: Row, targets: Mapping[int, tuple[Target, ...]]) -> ListedDelivery:
    return ListedDelivery(
        delivery=read_delivery(row),
        signal_name=row["signal_name"],
        tenant_id=row["tenant_id"],
        targets=targets[row["subscription_id"]],
        last=_read_last(row),
    )


def _read_last(row: Row) -> Result | None:
    if row["outcome"] is None:
        return None
    error = NO_OUTCOME if row["interrupted"] else row["error"]
    return Result(outcome=Outcome(row["outcome"]), status=row["status"], error=error)
