"""Subscriptions in PostgreSQL."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.access import Principal
from broker.audit import AuditType
from broker.signals import Signal, Throw
from broker.store.administration.audit import changing
from broker.store.deliveries.admission import forget_reservations, lock_admission, note_waiting
from broker.store.postgres.database import Conflict, Database, Row
from broker.store.postgres.statements import load
from broker.store.rows import read_subscription, spec_columns
from broker.subscriptions import Subscription, SubscriptionSpec

_SQL = load("broker.store.subscriptions", "subscriptions")
_CANDIDATES = load("broker.store.signals", "recording").candidates
_END = (1 << 63) - 1
"""A number after every other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which of the subscriptions that wait are asked for; None is no filter.

    Args:
        id: The one with this id.
        name: Those of exactly this name or pattern.
        execution_id: Those of this execution.
        tenants: Those of these tenants.
        untenanted: And those without a tenant; of interest only together with *tenants*.
    """

    id: int | None = None
    name: str | None = None
    execution_id: str | None = None
    tenants: tuple[str, ...] | None = None
    untenanted: bool = False


class SubscriptionStore:
    """Creates, reads and deletes subscriptions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, spec: SubscriptionSpec, *, secret: bytes | None) -> Subscription:
        """Create a subscription; once this returned, every signal that is numbered later matches it.

        *secret* is the webhook's signing secret, sealed.
        """
        row = await self._database.fetchrow(_SQL.create, json.dumps(spec_columns(spec)), secret)
        assert row is not None  # noqa: S101  (INSERT ... RETURNING returns it)
        return read_subscription(row)

    async def register(self, spec: SubscriptionSpec) -> Subscription:
        """Create the subscription of a handler, or give the one that is there these *spec*; return it.

        Whoever registers the same handler at the same time gets the same subscription. New spec hold for what is
        recorded from then on.
        """
        columns = json.dumps(spec_columns(spec))
        while True:
            row = await self._database.fetchrow(_SQL.renew, columns)
            if row is not None:
                return read_subscription(row)
            with suppress(Conflict):  # somebody else created it just now
                return await self.create(spec, secret=None)

    async def of_app(self, app: str) -> list[Subscription]:
        """Return the subscriptions of the handlers of *app*, whether there is still code for them or not."""
        return [read_subscription(row) for row in await self._database.fetch(_SQL.of_app, app)]

    async def apps(self) -> list[str]:
        """Return the apps that have handlers."""
        return [row["app"] for row in await self._database.fetch(_SQL.apps)]

    async def get(self, subscription_id: int) -> Subscription | None:
        """Return the subscription with that id, unless it is deleted."""
        row = await self._database.fetchrow(_SQL.get, subscription_id)
        return None if row is None else read_subscription(row)

    async def page(
        self,
        *,
        after_id: int = 0,
        limit: int = 100,
        name: str | None = None,
        tenant_id: str | None = None,
        execution_id: str | None = None,
        tenants: Sequence[str] | None = None,
    ) -> list[Subscription]:
        """Return subscriptions in ascending order of ids; *tenants* are those the caller sees (None: all)."""
        rows = await self._database.fetch(_SQL.list, after_id, name, tenant_id, execution_id, tenants, limit)
        return [read_subscription(row) for row in rows]

    async def waiting(
        self,
        sought: Sought,
        *,
        tenants: Sequence[str] | None = None,
        order: str | None = None,
        descending: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[Row]:
        """Return id, name, execution_id, tenant_id and created_at of subscriptions that signals still reach.

        *tenants* are those the caller sees (None: all); *order* is ``created`` or ``tenantId``, None orders by id.
        """
        rows = await self._database.fetch(_SQL.waiting, *_filters(sought, tenants), order, descending, offset, limit)
        return list(rows)

    async def count_waiting(self, sought: Sought, *, tenants: Sequence[str] | None = None) -> int:
        """Return how many `waiting` would return without a limit."""
        count: int = await self._database.fetchval(_SQL.count_waiting, *_filters(sought, tenants))
        return count

    async def receivers(self, throw: Throw) -> list[Subscription]:
        """Return the subscriptions that *throw* would match if it were thrown now."""
        rows = await self._database.fetch(_CANDIDATES, [throw.name], _END, _END)
        signal = Signal(id=_END, created_at=datetime.now(UTC), throw=throw)
        candidates = map(read_subscription, rows)
        return [candidate for candidate in candidates if candidate.mismatch(signal) is None]

    async def change(
        self,
        subscription_id: int,
        change: Callable[[SubscriptionSpec], SubscriptionSpec],
        *,
        secret: bytes,
        by: Principal,
    ) -> tuple[Subscription, bool] | None:
        """Give the subscription the spec that *change* makes of those it has, unless it is deleted.

        Return it, and whether *secret*, sealed, is its signing secret now, because it had none and needs one. What
        *change* raises leaves everything as it was.
        """
        async with changing(self._database, by) as changed:
            session = changed.session
            await lock_admission(session, [subscription_id])
            row = await session.fetchrow(_SQL.lock, subscription_id)
            if row is None:
                return None
            before = read_subscription(row).spec
            after = change(before)
            needs_secret = after.has_webhook and row["secret"] is None
            row = await session.fetchrow(
                _SQL.change, subscription_id, json.dumps(spec_columns(after)), secret if needs_secret else None
            )
            assert row is not None  # noqa: S101  (it is locked)
            if (after.max_per_second or math.inf) > (before.max_per_second or math.inf):
                await forget_reservations(session, subscription_id)
            shown = _snapshot(after) | ({"headersChanged": True} if _headers(before) != _headers(after) else {})
            await changed.note(AuditType.SUBSCRIPTION_UPDATED, subscription_id, before=_snapshot(before), after=shown)
        return read_subscription(row), needs_secret

    async def rotate_secret(self, subscription_id: int, secret: bytes, *, grace: timedelta) -> Subscription | None:
        """Give the subscription a new *secret*, sealed, and return it, unless it is deleted.

        Until *grace* is over the secret before it signs, too; what came before that one no longer does.
        """
        row = await self._database.fetchrow(_SQL.rotate_secret, subscription_id, secret, grace.total_seconds())
        return None if row is None else read_subscription(row)

    async def delete(self, subscription_id: int) -> bool:
        """Delete the subscription; return whether there was one.

        What it is still owed is cancelled, however much that is: by `broker.store.deliveries.pausing.PausingStore.sweep`, or when it is
        its turn.
        """
        until = await self._database.fetchval(_SQL.next)
        async with self._database.transaction() as session:
            await note_waiting(session, subscription_id)
            return await session.fetchval(_SQL.delete, subscription_id, until) is not None


def _snapshot(spec: SubscriptionSpec) -> dict[str, Any]:
    """Return *spec* as audit events show them: of headers, which may hold credentials, the names only."""
    columns = spec_columns(spec)
    shown = {name: columns[name] for name in sorted(columns.keys() - {"is_pattern"})}
    steps: Any = shown["steps"]
    return shown | {
        "headers": list(spec.target.headers),
        "steps": None if steps is None else [step | {"headers": list(step["headers"])} for step in steps],
    }


def _headers(spec: SubscriptionSpec) -> list[Mapping[str, str]]:
    return [target.headers for target in spec.targets]


def _filters(sought: Sought, tenants: Sequence[str] | None) -> tuple[object, ...]:
    return sought.id, sought.name, sought.execution_id, sought.tenants, sought.untenanted, tenants
