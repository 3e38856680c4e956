"""Subscriptions in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Unpack

from broker.access import ADMINISTRATOR, Principal
from broker.audit import AuditType
from broker.errors import ForeignExecution
from broker.quotas import LATER, QuotaKind, Subject, used_up
from broker.reach import EVERYWHERE
from broker.secrets import SecretBox
from broker.signals import Signal, Throw
from broker.slices import Slices
from broker.store.administration.audit import Change, change_administration, lock_administration
from broker.store.deliveries.admission import lock_admission, note_recall, note_waiting
from broker.store.deliveries.circuits import drop_circuits
from broker.store.deliveries.leases import count_leases, tell_leasable
from broker.store.pages import Page
from broker.store.postgres.database import Conflict, Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import SPEC_COLUMNS, read_subscription, spec_columns
from broker.store.subscriptions.candidates import find_candidates
from broker.store.subscriptions.listing import SubscriptionsWanted, list_subscriptions
from broker.store.subscriptions.sealing import is_sealing
from broker.store.subscriptions.snapshots import credentials, snapshot
from broker.subscriptions import Subscription, SubscriptionSpec, Waiting
from broker.targets import Kind

_LAST_NUMBER = (1 << 63) - 1
_SPARE = 100


class _Sql(Statements, file="subscriptions.sql"):
    create: Statement
    find_like: Statement
    quotas_of: Statement
    lock_execution: Statement
    lock_creation: Statement
    used_up: Statement
    renew: Statement
    of_app: Statement
    apps: Statement
    get: Statement
    waiting_at: Statement
    lock: Statement
    change: Statement
    rotate_secret: Statement
    next: Statement
    delete: Statement


_COLUMNS = ", ".join(SPEC_COLUMNS)
_CREATE = _Sql.create.naming(columns=_COLUMNS)
_RENEW = _Sql.renew.naming(columns=_COLUMNS)
_CHANGE = _Sql.change.naming(columns=_COLUMNS)


class SubscriptionStore:
    """Creates, reads and deletes subscriptions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._slices = Slices(rest=1.0)

    async def seals(self) -> bool:
        """Return whether targets are to be stored with their credentials sealed."""
        return await is_sealing(self._database)

    async def create(
        self, spec: SubscriptionSpec, *, secret: bytes | None, by: Principal | None = None
    ) -> Subscription:
        """Create a subscription; it is matched by every signal that is numbered after this has returned.

        *secret* is the webhook's signing secret, sealed. *by* owns it; without anybody it has no limits. The audit
        mentions what somebody creates, unless it waits in an execution.

        Raises:
            ForeignExecution: Its execution belongs to others.
            QuotaExceeded: Its tenants, or the token of *by*, have as many as they may.
        """
        subscription, _ = await self._create(spec, secret=secret, by=by)
        return subscription

    async def create_if_absent(self, spec: SubscriptionSpec, *, by: Principal) -> tuple[Subscription, bool]:
        """Return the oldest subscription of *by* that is like *spec*, or create one; and whether it was created.

        It is like *spec* if it has its name, its tenant, its execution, its target, its description, `once` and
        `ordered`. Concurrent calls return the same one. *spec* has one target, which is not signed.

        Raises:
            ForeignExecution, QuotaExceeded: As `create`.
        """
        return await self._create(spec, secret=None, by=by, if_absent=True)

    async def _create(
        self, spec: SubscriptionSpec, *, secret: bytes | None, by: Principal | None, if_absent: bool = False
    ) -> tuple[Subscription, bool]:
        owner = EVERYWHERE if by is None else by.reach
        token_id = None if by is None else by.token_id
        tenants = (owner.tenants or ()) if spec.tenant_id is None else (spec.tenant_id,)
        audited = by is not None and _is_audited(spec)
        parameters = {
            "audited": audited,
            "spec": json.dumps(spec_columns(spec)),
            "secret": secret,
            "created_by": None if by is None else by.name,
            "created_by_token": token_id,
            "created_by_user": None if by is None else by.user_id,
            "names": None if by is None else by.names,
            "tenants": None if by is None else by.tenants,
            "type": AuditType.SUBSCRIPTION_CREATED.value,
            "after": json.dumps(snapshot(spec)),
            "owner_tenants": owner.tenants,
            "owner_untenanted": owner.has_untenanted,
        }
        has_quotas = await self._database.fetchval(_Sql.quotas_of, token_id=token_id, tenants=tenants)
        if has_quotas or if_absent or spec.execution_id is not None:
            async with self._database.transaction() as session:
                # One of the two locks keeps others from creating a subscription like it.
                if audited:
                    await lock_administration(session)
                if spec.execution_id is not None:
                    await session.execute(_Sql.lock_execution, execution_id=spec.execution_id)
                if if_absent:
                    row = await session.fetchrow(
                        _Sql.find_like,
                        spec=parameters["spec"],
                        owner_tenants=owner.tenants,
                        owner_untenanted=owner.has_untenanted,
                    )
                    if row is not None:
                        return read_subscription(row), False
                if has_quotas:
                    await _check_quotas(session, token_id, tenants)
                row = await session.fetchrow(_CREATE, **parameters)
        else:  # in one statement: it holds the lock that numbers throws, too
            row = await self._database.fetchrow(_CREATE, **parameters)
        if row is None:
            raise ForeignExecution(f"The execution {spec.execution_id!r} belongs to another tenant, which waits there.")
        return read_subscription(row), True

    async def register(self, spec: SubscriptionSpec) -> Subscription:
        """Create the subscription of a handler, or give the existing one this *spec*; return it.

        Concurrent calls for the same handler return the same subscription. A new spec holds for signals recorded from
        then on.
        """
        columns = json.dumps(spec_columns(spec))
        while True:
            row = await self._database.fetchrow(_RENEW, spec=columns)
            if row is not None:
                return read_subscription(row)
            with suppress(Conflict):  # another process created it just now
                return await self.create(spec, secret=None)

    async def of_app(self, app: str) -> list[Subscription]:
        """Return the subscriptions of the handlers of *app*, including handlers whose code is gone."""
        return await self._read(await self._database.fetch(_Sql.of_app, app=app))

    async def apps(self) -> list[str]:
        """Return the apps that have handlers."""
        return [row["app"] for row in await self._database.fetch(_Sql.apps)]

    async def get(self, subscription_id: int, *, deleted: bool = False) -> Subscription | None:
        """Return the subscription with that id; one that is *deleted* only if that is asked for."""
        row = await self._database.fetchrow(_Sql.get, subscription_id=subscription_id, deleted=deleted)
        return None if row is None else read_subscription(row)

    async def page(
        self,
        *,
        after_id: int = 0,
        limit: int = 100,
        by: Principal = ADMINISTRATOR,
        **wanted: Unpack[SubscriptionsWanted],
    ) -> Page[Subscription, int]:
        """Return a page of the *wanted* subscriptions that *by* sees; see `list_subscriptions`."""
        page = await list_subscriptions(self._database, wanted, by=by, after_id=after_id, limit=limit)
        return Page(await self._read(page.items), page.following)

    async def waiting_at(self, execution_id: str) -> list[Waiting]:
        """Return the subscriptions that wait in an execution, in the order of their creation."""
        rows = await self._database.fetch(_Sql.waiting_at, execution_id=execution_id)
        return [Waiting(row["name"], None if row["tenants"] is None else tuple(row["tenants"])) for row in rows]

    async def receivers(self, throw: Throw, *, most: int, in_execution: bool = False) -> list[Subscription]:
        """Return up to *most* subscriptions that *throw* would match if it were thrown now, and if none had a filter.

        *in_execution*: only those that wait in an execution.
        """
        signal = Signal(id=_LAST_NUMBER, created_at=datetime.now(UTC), throw=throw)
        limit: int | None = most + _SPARE  # nearly always enough of the first ones fit
        while True:
            async with self._slices.take() as turn:
                found = await find_candidates(self._database, [signal], turn, most=limit, in_execution=in_execution)
            fit = [subscription for subscription in found.of(signal) if subscription.unfit(signal) is None]
            if limit is None or len(fit) >= most or len(found.versions) < limit:
                return fit[:most]
            limit = None

    async def _read(self, rows: Sequence[Row]) -> list[Subscription]:
        """Read *rows*, which takes long if they are many, by turns with other tasks."""
        subscriptions = []
        async with self._slices.take() as turn:
            for row in rows:
                subscriptions.append(read_subscription(row))
                if turn.is_over:
                    await turn.pause()
        return subscriptions

    async def change(
        self,
        subscription_id: int,
        change: Callable[[SubscriptionSpec], SubscriptionSpec],
        *,
        secret: bytes,
        by: Principal,
        box: SecretBox | None = None,
    ) -> tuple[Subscription, bool] | None:
        """Replace the subscription's spec by what *change* returns for it; None if there is no such subscription.

        Return the subscription, and whether *secret* (sealed) became its signing secret because it needs one and had
        none, or signs again and had one that *box* does not open. An exception of *change* leaves everything as it was.
        """
        async with change_administration(self._database, by) as audited:
            session = audited.session
            await lock_admission(session, [subscription_id])
            row = await session.fetchrow(_Sql.lock, subscription_id=subscription_id)
            if row is None:
                return None
            before = read_subscription(row).spec
            after = change(before)
            kept = row["secret"] is not None and (before.is_signed or box is None or box.opens(row["secret"]))
            needs_secret = after.is_signed and not kept
            row = await session.fetchrow(
                _CHANGE,
                subscription_id=subscription_id,
                spec=json.dumps(spec_columns(after)),
                secret=secret if needs_secret else None,
            )
            assert row is not None  # noqa: S101  (it is locked)
            if before.max_in_flight is None and after.max_in_flight is not None and after.target.kind is Kind.PULL:
                await count_leases(session, subscription_id)
            if after.targets != before.targets:
                await note_recall(session, [subscription_id])
            shown = snapshot(after) | ({"headersChanged": True} if credentials(before) != credentials(after) else {})
            await audited.note(AuditType.SUBSCRIPTION_UPDATED, subscription_id, before=snapshot(before), after=shown)
        return read_subscription(row), needs_secret

    async def rotate_secret(
        self,
        subscription_id: int,
        secret: bytes,
        *,
        box: SecretBox,
        grace: timedelta,
        by: Principal = ADMINISTRATOR,
    ) -> Subscription | None:
        """Give the subscription a new *secret* (sealed) and return it; None if there is no such subscription.

        Until *grace* is over the previous secret signs too, if *box* opens it; older ones no longer do.
        """
        seconds = grace.total_seconds()
        async with change_administration(self._database, by) as change:
            row = await change.session.fetchrow(_Sql.lock, subscription_id=subscription_id)
            if row is None:
                return None
            kept = row["secret"] is not None and box.opens(row["secret"])
            row = await change.session.fetchrow(
                _Sql.rotate_secret, subscription_id=subscription_id, secret=secret, kept=kept, grace=seconds
            )
            assert row is not None  # noqa: S101  (it is locked)
            shown = {"graceSeconds": seconds}
            await change.note(AuditType.SUBSCRIPTION_SECRET_ROTATED, subscription_id, after=shown)
        return read_subscription(row)

    async def delete(self, subscription_id: int, *, by: Principal = ADMINISTRATOR) -> bool:
        """Delete the subscription; return whether there was one.

        Its open deliveries, however many, are cancelled later: by the sweep of
        `broker.store.deliveries.pausing.PausingStore`, or when an attempt would begin.
        """
        found = await self.get(subscription_id)
        if found is None:
            return False
        number = await self._database.fetchval(_Sql.next)
        async with self._database.transaction() as session:
            if _is_audited(found.spec):
                await lock_administration(session)
            await note_waiting(session, subscription_id)
            await drop_circuits(session, subscription_id)
            row = await session.fetchrow(_Sql.delete, subscription_id=subscription_id, number=number)
            if found.spec.target.kind is Kind.PULL:
                await tell_leasable(session, [subscription_id])  # those who wait wait in vain
            if row is not None and _is_audited(found.spec):
                shown = snapshot(read_subscription(row).spec)
                await Change(session, by).note(AuditType.SUBSCRIPTION_DELETED, subscription_id, before=shown)
        return row is not None


def _is_audited(spec: SubscriptionSpec) -> bool:
    """Return whether the audit, which is kept for ever, mentions the creation and the deletion.

    Executions come and go like signals, and their subscriptions with them.
    """
    return spec.execution_id is None


async def _check_quotas(session: Session, token_id: int | None, tenants: Sequence[str]) -> None:
    """Check that one more subscription may be created, by the token and for the tenants, which have quotas.

    Raises:
        QuotaExceeded: It may not.
    """
    await session.execute(_Sql.lock_creation)
    excess = await session.fetchrow(_Sql.used_up, token_id=token_id, tenants=tenants)
    if excess is not None:
        subject = Subject(QuotaKind(excess["kind"]), excess["subject"])
        raise used_up(subject, "subscriptions", excess["most"], retry_after=LATER)
