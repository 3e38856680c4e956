"""Deliveries in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Unpack

from broker.access import ADMINISTRATOR, Principal
from broker.audit import AuditType
from broker.deliveries import BY_HAND, Attempt, Delivery, DeliveryState, DueAttempt, delivery_id
from broker.matching import Matcher
from broker.store.administration.audit import change_administration
from broker.store.deliveries.contenders import Contender, read_contenders
from broker.store.deliveries.decisions import Decisions
from broker.store.deliveries.folding import fold
from broker.store.deliveries.listing import DeliveryFilter, ListedDelivery, list_deliveries
from broker.store.deliveries.redrives import redrive
from broker.store.pages import Page
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_attempt, read_delivery, read_due_attempts, read_targets
from broker.store.sight import sight_of_subscriptions
from broker.targets import Target


class _Sql(Statements, file="deliveries.sql"):
    release: Statement
    find_due: Statement
    release_of: Statement
    count_overdue: Statement
    oldest_pending: Statement
    most_dead: Statement
    count_late: Statement
    rescue: Statement
    get: Statement
    list_attempts: Statement
    cancel: Statement
    ledger: Statement
    ledger_of_caller: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDetails:
    """A delivery, and what a caller's rights and its prospects depend on.

    Args:
        delivery: The delivery, without its attempts.
        signal_name: The signal's name.
        tenant_id: The subscription's tenant.
        targets: The subscription's target, or those of its steps.
        readable: Whether the caller may read the signal and see the subscription, as far as its tenants say.
        owned: Whether the subscription belongs to the caller's tenants.
        hopeless: Why another attempt would not be made, as a clause; None if it would.
    """

    delivery: Delivery
    signal_name: str
    tenant_id: str | None
    targets: tuple[Target, ...]
    readable: bool
    owned: bool
    hopeless: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The books in one snapshot, of all subscriptions, of those that a caller sees, or of one.

    Args:
        recorded: Signals recorded, of all subscriptions; 0 in the books of a caller with limits.
        matched: Deliveries owed, as counted when the signals were recorded.
        states: Deliveries by state.
    """

    recorded: int
    matched: int
    states: dict[DeliveryState, int]

    @property
    def unaccounted(self) -> int:
        """What is owed but in no state; anything but 0 is a defect."""
        return self.matched - sum(self.states.values())


@dataclass(frozen=True, slots=True)
class Rescued:
    """Deliveries that were rescued.

    Args:
        due_attempts: Their next attempts.
        begun: For how many an attempt had begun; it is noted as interrupted, and their receivers may be called again.
    """

    due_attempts: Sequence[DueAttempt]
    begun: int


class DeliveryStore:
    """Releases, rescues and reads deliveries, and keeps the ledger.

    Args:
        database: Where they are.
        matcher: Evaluates the filters of what is redriven, by turns with what else uses it; None: one of its own.
    """

    def __init__(self, database: Database, *, matcher: Matcher | None = None) -> None:
        self._database = database
        self._decisions = Decisions(database, matcher or Matcher(rest=1.0))

    async def release(self, *, limit: int, offset: int = 0, rescue_after: timedelta) -> list[DueAttempt]:
        """Put at most *limit* parked deliveries that are due back to pending, and return their next attempts.

        The first *offset* of them are left out.
        """
        rows = await self._database.fetch(
            _Sql.release, limit=limit, offset=offset, rescue_after=rescue_after.total_seconds()
        )
        return read_due_attempts(rows)

    async def find_due(self, *, limit: int, after_id: int = 0) -> dict[int, Contender]:
        """Return at most *limit* subscriptions, the next ones after *after_id*, that have deliveries to release."""
        return read_contenders(await self._database.fetch(_Sql.find_due, limit=limit, after_id=after_id))

    async def release_of(self, limits: Mapping[int, int], *, rescue_after: timedelta) -> list[DueAttempt]:
        """Do what `release` does, for so many deliveries of each subscription as *limits* says."""
        rows = await self._database.fetch(
            _Sql.release_of,
            subscription_ids=list(limits),
            limits=list(limits.values()),
            rescue_after=rescue_after.total_seconds(),
        )
        return read_due_attempts(rows)

    async def count_overdue(self, *, limit: int) -> dict[str, int]:
        """Return how many pending deliveries should have been attempted by now, counting up to *limit* of each app.

        ``""`` stands for deliveries to other targets than handlers. Apps without such deliveries are left out.
        """
        return {row["app"]: row["n"] for row in await self._database.fetch(_Sql.count_overdue, limit=limit)}

    async def count_late(self, *, by: timedelta) -> int:
        """Return how many parked deliveries are due since *by* or longer: no scheduler seems to release them."""
        return int(await self._database.fetchval(_Sql.count_late, by=by.total_seconds()))

    async def rescue(self, app: str, *, limit: int, offset: int = 0, rescue_after: timedelta) -> Rescued:
        """Take at most *limit* of the deliveries that `count_overdue` counts for *app*, without the first *offset*."""
        rows = await self._database.fetch(
            _Sql.rescue, app=app, limit=limit, offset=offset, rescue_after=rescue_after.total_seconds()
        )
        return Rescued(read_due_attempts(rows), begun=sum(row["begun"] for row in rows))

    async def get(self, key: tuple[int, int], *, by: Principal = ADMINISTRATOR) -> DeliveryDetails | None:
        """Return the delivery with that key (signal id, subscription id), if there is one, and what *by* may do."""
        row = await self._database.fetchrow(
            _Sql.get, signal_id=key[0], subscription_id=key[1], tenants=by.tenants, untenanted=by.untenanted
        )
        if row is None:
            return None
        return DeliveryDetails(
            delivery=read_delivery(row),
            signal_name=row["signal_name"],
            tenant_id=row["tenant_id"],
            targets=read_targets(row),
            readable=row["readable"],
            owned=row["owned"],
            hopeless=row["hopeless"],
        )

    async def attempts(self, key: tuple[int, int]) -> list[Attempt]:
        """Return the attempts at a delivery in order."""
        rows = await self._database.fetch(_Sql.list_attempts, signal_id=key[0], subscription_id=key[1])
        return [read_attempt(row) for row in rows]

    async def page(
        self,
        *,
        after: tuple[int, int] | None = None,
        limit: int = 100,
        descending: bool = False,
        by: Principal = ADMINISTRATOR,
        **wanted: Unpack[DeliveryFilter],
    ) -> Page[ListedDelivery, tuple[int, int]]:
        """Return a page of the *wanted* deliveries that *by* may read; see `list_deliveries`."""
        return await list_deliveries(self._database, wanted, by=by, after=after, limit=limit, descending=descending)

    async def redrive(self, key: tuple[int, int], *, by: Principal = ADMINISTRATOR) -> bool:
        """Let a delivery be attempted (again), as soon as that may be; return whether it was put back.

        One that is pending or due is not, nor one that waits for its turn in its ordering group or for its signal's
        moment, nor a cancelled one whose `once` subscription another signal has consumed. If its filter exceeded its
        budget, it is put back if that matches now, cancelled if it does not, and stays dead if it exceeds its budget
        again.
        """
        decided = await self._decisions.decide([key])
        async with change_administration(self._database, by) as change:
            if decided.owed and not await redrive(change.session, [key], [None]):
                return False
            await change.note(AuditType.DELIVERY_REDRIVEN, key[1], after={"deliveryId": delivery_id(*key)})
        return True

    async def cancel(self, key: tuple[int, int], *, by: Principal) -> bool:
        """Cancel a delivery that is dead or parked, or waits to be leased; return whether it was one."""
        signal_id, subscription_id = key
        async with change_administration(self._database, by) as change:
            given_up = await change.session.fetchval(
                _Sql.cancel, signal_id=signal_id, subscription_id=subscription_id, reason=BY_HAND
            )
            if given_up is None:
                return False
            await change.note(AuditType.DELIVERY_CANCELLED, subscription_id, after={"deliveryId": delivery_id(*key)})
        return True

    async def ledger(self, subscription_id: int | None = None, *, by: Principal = ADMINISTRATOR) -> Ledger:
        """Return the books in one snapshot: of one subscription, or of all that *by* sees."""
        if subscription_id is None and not by.hide_nothing:
            sight = await sight_of_subscriptions(self._database, by)
            rows = await self._database.fetch(_Sql.ledger_of_caller, **sight)
        else:
            rows = await self._database.fetch(_Sql.ledger, subscription_id=subscription_id)
        counts = {row["counted"]: row["n"] for row in rows}
        return Ledger(
            recorded=counts.get("recorded", 0),
            matched=counts.get("matched", 0),
            states={state: counts.get(state.value, 0) for state in DeliveryState},
        )

    async def most_dead(self, *, limit: int) -> dict[int, int]:
        """Return how many deliveries are dead of each of the subscriptions that have most, *limit* of them."""
        rows = await self._database.fetch(_Sql.most_dead, limit=limit)
        return {row["subscription_id"]: row["n"] for row in rows}

    async def oldest_pending(self, *, rescue_after: timedelta) -> float:
        """Return for how many seconds the oldest message of a pending delivery has been waiting for its attempt.

        *rescue_after*: after how long pending deliveries are rescued.
        """
        found = await self._database.fetchval(_Sql.oldest_pending, rescue_after=rescue_after.total_seconds())
        return max(0.0, found or 0.0)

    async def fold_ledger(self, *, limit: int) -> int:
        """Fold at most *limit* changes of the books, so that `ledger` need not add them up; return how many."""
        return await fold(self._database, limit=limit)
