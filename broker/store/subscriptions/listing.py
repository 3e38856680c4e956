"""Lists of subscriptions: filtered, by ids, page by page."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TypedDict

from broker.access import Principal
from broker.store.pages import Looked, Page, read_page
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements
from broker.store.sight import sight_of_subscriptions

PAGE_BYTES = 1 << 20
"""Bytes of filters, templates and the like that fill a page."""


class _Sql(Statements, file="listing.sql"):
    find: Statement
    find_along: Statement
    find_leasable: Statement
    look: Statement
    hosts: Statement


class ListedState(enum.StrEnum):
    """What a list may be narrowed to."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"
    FAILING = "failing"
    """Its target is left alone for a while: a circuit is open. It is active, paused or disabled besides."""
    LEASABLE = "leasable"
    """Deliveries of it wait to be leased. It is active or paused besides."""


class SubscriptionsWanted(TypedDict, total=False):
    """Which subscriptions are asked for; without a member, or with None, it does not matter.

    *name* is exactly that name or pattern; *host* is that of the webhook, or of the first one of its steps.
    """

    name: str | None
    tenant_id: str | None
    execution_id: str | None
    host: str | None
    state: str | None


async def list_subscriptions(
    database: Database, wanted: SubscriptionsWanted, *, by: Principal, after_id: int, limit: int
) -> Page[Row, int]:
    """Return a page of the rows of subscriptions that *by* sees, in ascending order of ids.

    A page ends early where they come to `PAGE_BYTES`.
    """
    walk = _Walk(database, wanted, by, await sight_of_subscriptions(database, by))
    return await read_page(walk.find, walk.look, after=after_id, limit=limit)


async def list_hosts(database: Database, *, limit: int) -> list[str]:
    """Return the first *limit* hosts of webhooks by name, those of later steps left out."""
    return [row["host"] for row in await database.fetch(_Sql.hosts, limit=limit)]


class _Walk:
    """A way along one index, past all subscriptions that may be asked for."""

    def __init__(
        self, database: Database, wanted: SubscriptionsWanted, by: Principal, sight: Mapping[str, object]
    ) -> None:
        self._database = database
        self._statement, self._along = _along(wanted, by)
        filters = ("name", "tenant_id", "execution_id", "host", "state")
        self._filters = {**sight, **{column: wanted.get(column) for column in filters}}
        self._bytes_left = PAGE_BYTES

    async def find(self, after: int, looks: int) -> list[int]:
        """Return the next subscriptions on the way; see `read_page`."""
        rows = await self._database.fetch(self._statement, **self._along, after=after, looks=looks)
        return [row["id"] for row in rows]

    async def look(self, ids: Sequence[int], limit: int) -> Looked[Row, int]:
        """Return those that are asked for, as rows; see `read_page`."""
        rows = await self._database.fetch(
            _Sql.look, subscription_ids=ids, limit=limit, max_bytes=self._bytes_left, **self._filters
        )
        self._bytes_left -= sum(row["size"] for row in rows)
        is_full = self._bytes_left <= 0 or (len(rows) > 0 and len(rows) < rows[0]["found"])
        return Looked(rows, rows[-1]["id"] if is_full or len(rows) == limit else ids[-1], is_full)


_SELECTIVE = {
    "execution_id": ("execution_id", "execution_id IS NOT NULL AND until IS NULL"),
    "host": ("host_of(kind, address)", "kind = 'webhook'"),
    "name": ("name", "until IS NULL"),
    "tenant_id": ("tenant_id", "tenant_id IS NOT NULL"),
}
"""What has an index, and its condition; what is likely to be rarest comes first."""
_HALTED = "(paused_at IS NOT NULL OR disabled_because IS NOT NULL)"
_OF_STATE = {
    ListedState.PAUSED: _HALTED,
    ListedState.DISABLED: _HALTED,
    ListedState.FAILING: "id IN (SELECT subscription_id FROM circuits WHERE retry_at IS NOT NULL)",
}


def _along(wanted: SubscriptionsWanted, by: Principal) -> tuple[Statement, dict[str, object]]:
    """Return the statement that walks along the index of the rarest filter, and its parameters for that."""
    state = wanted.get("state")
    values: tuple[str, ...] | None = None
    key = next((key for key in _SELECTIVE if wanted.get(key) is not None), None)
    if key is not None:
        values = (str(wanted.get(key)),)
    elif state == ListedState.LEASABLE:
        return _Sql.find_leasable, {}
    elif state is not None and ListedState(state) in _OF_STATE:
        return _Sql.find.naming(where=_OF_STATE[ListedState(state)]), {}
    elif by.tenants is not None and not by.untenanted:
        key, values = "tenant_id", tuple(set(by.tenants))
    if key is None:
        return _Sql.find.naming(where="true"), {}
    column, where = _SELECTIVE[key]
    return _Sql.find_along.naming(column=column, where=where), {"values": values}
