"""Leases in PostgreSQL: the attempts at deliveries to pull targets.

A delivery to a pull target is pending while it can be leased, and while it is: then its reason is `leased`, and its
`due_at` is the end of the lease. No message stands for it, and no deliverer attempts it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.access import Permission, Principal, digest, make_token
from broker.admission import LEASE_GRACE, Admitted
from broker.deliveries import DeliveryState, DueAttempt, Outcome, Reason, Result
from broker.limits import Rate
from broker.moments import show_moment
from broker.retries import judge
from broker.store.deliveries.admission import count_slots, lock_admission, save_reservations, take_slots
from broker.store.deliveries.attempts import AttemptRequest, Claimed, Ended, begin
from broker.store.deliveries.ending import end_in
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import SubscriptionReader
from broker.subscriptions import Subscription
from broker.topology import LEASED, attempt_queue

_CHANNEL = "leasable"
MOST_BYTES = 1 << 20
"""The most bytes of payloads that are leased at once, unless it is a single one."""
_RETURNED = Result(outcome=Outcome.REFUSED, error="the lease was returned")
_LAPSED = Result(outcome=Outcome.TIMED_OUT, error="the lease ended, and was neither acknowledged nor failed")
UNKNOWN = "there is no such lease, or it ended long ago"
"""The error about what is no lease, or none that the caller may know of."""


class _Sql(Statements, file="leases.sql"):
    terms: Statement
    hold: Statement
    count_leases: Statement
    find: Statement
    lease: Statement
    lock: Statement
    any_lapsed: Statement
    lapsed: Statement
    note_ends: Statement
    extend: Statement
    newest: Statement
    forget: Statement
    tell: Statement


@dataclass(frozen=True, slots=True)
class Lease:
    """An attempt that a caller makes.

    Args:
        token: What ends or extends it; it is known to the caller alone.
        claimed: The attempt.
        until: When it ends by itself.
    """

    token: str
    claimed: Claimed
    until: datetime


class Held(NamedTuple):
    """The newest lease of a delivery.

    Args:
        digest: What stands for it here: the digest of its token.
        worker: Who has it, or had it, as the caller said.
    """

    digest: bytes
    worker: str | None


class Leased(NamedTuple):
    """What can be leased at this moment.

    Args:
        leases: What was leased.
        more: Whether more can be leased at once, for which there was no room, or of which a limit was just set.
        again_in: After how many seconds more can be leased, if only the subscription's rate is in the way.
    """

    leases: Sequence[Lease] = ()
    more: bool = False
    again_in: float | None = None


class EndedLease(NamedTuple):
    """An attempt that a caller has made.

    Args:
        attempt: The attempt.
        thrown_at: When its signal was accepted.
    """

    attempt: Ended
    thrown_at: datetime


class Lapsed(NamedTuple):
    """What one sweep came to.

    Args:
        looked: How many leases were over.
        ended: The attempts that ended.
    """

    looked: int = 0
    ended: Sequence[EndedLease] = ()


class Settled(NamedTuple):
    """What came of a request about leases.

    Args:
        errors: Why nothing was done about a lease, as a clause, by its digest; None: it was done, now or before.
        ended: The attempts that ended.
    """

    errors: Mapping[bytes, str | None]
    ended: Sequence[EndedLease] = ()


class LeaseStore:
    """Leases deliveries, and ends and extends leases.

    Args:
        database: Where they are.
        rescue_after: As for other attempts; it does not matter to those that are leased.
    """

    def __init__(self, database: Database, *, rescue_after: timedelta) -> None:
        self._database = database
        self._rescue_after = rescue_after
        self._subscriptions = SubscriptionReader()

    def listen(self, on_leasable: Callable[[int | None], None]) -> None:
        """Call *on_leasable* with each subscription of which deliveries can be leased now; None: perhaps of any."""
        self._database.listen(_CHANNEL, lambda payload: on_leasable(None if payload is None else int(payload)))

    async def lease(
        self, subscription_id: int, *, most: int, duration: timedelta, worker: str | None, room: int = MOST_BYTES
    ) -> Leased:
        """Begin the attempts at up to *most* deliveries of a subscription with a pull target, for *worker*.

        They end after *duration*, unless that is extended. Those of the oldest signals come first. A paused
        subscription has none, and its limits hold over all callers. Payloads have *room* bytes together; with all of
        `MOST_BYTES`, the first one may have more.
        """
        async with self._database.transaction() as session:
            terms = await _read_terms(session, subscription_id)
            gates: Mapping[int, Row] = {}
            if not _limits(terms):
                await session.execute(_Sql.hold, subscription_id=subscription_id)
                terms = await _read_terms(session, subscription_id)
                if _limits(terms):
                    return Leased(more=True)  # a limit was set meanwhile
            else:
                gates = await lock_admission(session, [subscription_id])
            if terms is None or terms["closed"]:
                return Leased()
            in_flight, per_second = terms["max_in_flight"], terms["max_per_second"]
            found = await session.fetch(_Sql.find, subscription_id=subscription_id, limit=most)
            fitting: Sequence[Row] = found[: count_fitting([row["size"] for row in found], room)]
            chosen, again_in = fitting, None
            if in_flight is not None and chosen:
                taken = await count_slots(session, subscription_id, besides=[row["signal_id"] for row in chosen])
                chosen = chosen[: max(0, in_flight - taken)]
            if per_second is not None and chosen:
                rate = Rate(per_second, gates[subscription_id]["slot_at"])
                chosen, again_in = _at_rate(rate, chosen)
                await save_reservations(session, subscription_id, rate.slot_at)
            leases = await self._begin(session, subscription_id, chosen, duration, worker, slot=in_flight is not None)
        return Leased(leases, more=len(fitting) < len(found), again_in=again_in)

    async def _begin(
        self,
        session: Session,
        subscription_id: int,
        chosen: Sequence[Row],
        duration: timedelta,
        worker: str | None,
        *,
        slot: bool,
    ) -> list[Lease]:
        if not chosen:
            return []
        queue = attempt_queue(LEASED)
        batch = [
            AttemptRequest(DueAttempt(row["signal_id"], subscription_id, row["number"], queue), room=row["size"])
            for row in chosen
        ]
        begun = await begin(
            session,
            batch,
            timeout=duration,
            rescue_after=self._rescue_after,
            admitted=True,
            by=None,
            leased_for=duration,
            read=self._subscriptions.read,
        )
        claimed = {make_token("lease_"): one for one in begun if one is not None}
        if slot:
            await take_slots(session, dict.fromkeys((one.due for one in claimed.values()), duration + LEASE_GRACE))
        rows = await session.fetch(
            _Sql.lease,
            subscription_id=subscription_id,
            signal_ids=[one.due.signal_id for one in claimed.values()],
            numbers=[one.due.attempt for one in claimed.values()],
            digests=[digest(token) for token in claimed],
            worker=worker,
            slot=slot,
            seconds=duration.total_seconds(),
        )
        return [Lease(token, one, row["until"]) for (token, one), row in zip(claimed.items(), rows, strict=True)]

    async def newest(self, signal_id: int, subscription_id: int) -> Held | None:
        """Return the newest lease of a delivery, which may have ended; None if it had none, or none of late."""
        row = await self._database.fetchrow(_Sql.newest, signal_id=signal_id, subscription_id=subscription_id)
        return None if row is None else Held(**row)

    async def end(self, digests: Sequence[bytes], result: Result, *, by: Principal) -> Settled:
        """End the attempts that leases stand for, all with *result*. *digests*: of their tokens.

        What *by* may not end is as if it were not there. Ending a lease again in the same way changes nothing.
        """
        how = "acknowledged" if result.outcome is Outcome.SUCCEEDED else "failed"
        return await self._end_as(how, digests, result, by)

    async def return_unused(self, digests: Sequence[bytes], *, by: Principal) -> Settled:
        """Return leases whose attempts were not made: the schedule does not count them, and the next may begin at once.

        For *digests* and *by* see `end`.
        """
        return await self._end_as("returned", digests, _RETURNED, by)

    async def _end_as(self, how: str, digests: Sequence[bytes], result: Result, by: Principal) -> Settled:
        async with self._database.transaction() as session:
            rows, errors = await self._lock(session, digests, by, repeated=(how, result.outcome))
            ending = [row for one, row in rows.items() if errors[one] is None and row["how"] is None]
            ended = await self._end(session, ending, result, how)
        return Settled(errors, ended)

    async def extend(self, digests: Sequence[bytes], duration: timedelta, *, by: Principal) -> Settled:
        """Let leases last for *duration* from now on; for *digests* and *by* see `end`."""
        async with self._database.transaction() as session:
            rows, errors = await self._lock(session, digests, by)
            lasting = [one for one in rows if errors[one] is None]
            if lasting:
                await session.execute(_Sql.extend, digests=lasting, seconds=duration.total_seconds(), grace=LEASE_GRACE)
        return Settled(errors)

    async def end_lapsed(self, *, limit: int, offset: int = 0) -> Lapsed:
        """End at most *limit* leases that are over, without the first *offset*."""
        if not await self._database.fetchval(_Sql.any_lapsed):
            return Lapsed()
        async with self._database.transaction() as session:
            lapsed = await session.fetch(_Sql.lapsed, limit=limit, offset=offset)
            if not lapsed:
                return Lapsed()
            rows = await session.fetch(_Sql.lock, digests=[row["digest"] for row in lapsed])
            return Lapsed(len(lapsed), await self._end(session, rows, _LAPSED, "lapsed"))

    async def forget(self, *, limit: int) -> int:
        """Forget at most *limit* leases that ended long ago; return how many."""
        return int((await self._database.execute(_Sql.forget, limit=limit)).rpartition(" ")[2])

    async def _lock(
        self, session: Session, digests: Sequence[bytes], by: Principal, *, repeated: tuple[str, Outcome] | None = None
    ) -> tuple[dict[bytes, Row], dict[bytes, str | None]]:
        """Lock leases; return them, and why they cannot be ended or extended: see `Settled`."""
        rows = await session.fetch(_Sql.lock, digests=list(digests))
        found = {row["digest"]: row for row in rows if _may_end(by, self._subscriptions.read(row["subscription"]))}
        return found, {one: _error(found[one], repeated) if one in found else UNKNOWN for one in digests}

    async def _end(self, session: Session, rows: Sequence[Row], result: Result, how: str) -> list[EndedLease]:
        if not rows:
            return []
        ended = [
            EndedLease(_ended(row, self._subscriptions.read(row["subscription"]), result), row["thrown_at"])
            for row in rows
        ]
        if how == "returned":
            ended = [one._replace(attempt=_uncounted(one.attempt)) for one in ended]
        await end_in(session, [one.attempt for one in ended], rescue_after=self._rescue_after)
        await session.execute(_Sql.note_ends, digests=[row["digest"] for row in rows], how=how)
        freed = {row["subscription_id"] for row in rows if row["slot"]}
        if freed:
            await tell_leasable(session, freed)
        return [one for one, row in zip(ended, rows, strict=True) if row["under_way"]]


async def _read_terms(session: Session, subscription_id: int) -> Row | None:
    return await session.fetchrow(_Sql.terms, subscription_id=subscription_id)


def _limits(terms: Row | None) -> bool:
    return terms is not None and (terms["max_in_flight"] is not None or terms["max_per_second"] is not None)


async def count_leases(session: Session, subscription_id: int) -> None:
    """Let leases that last count for the `max_in_flight` of a subscription whose admission is locked.

    It had none when they began.
    """
    await session.execute(_Sql.count_leases, subscription_id=subscription_id, grace=LEASE_GRACE)


async def tell_leasable(session: Session, subscription_ids: Collection[int]) -> None:
    """Tell the gateways that deliveries of subscriptions may be leased now, once the transaction is committed."""
    await session.execute(_Sql.tell, subscription_ids=list(subscription_ids))


def count_fitting(sizes: Sequence[int], room: int) -> int:
    """Return how many of the first payloads of those *sizes* go into so much *room*; see `LeaseStore.lease`."""
    taken = 0
    for count, size in enumerate(sizes):
        taken += size
        if taken > room and (count or room < MOST_BYTES):
            return count
    return len(sizes)


def _at_rate(rate: Rate, chosen: Sequence[Row]) -> tuple[Sequence[Row], float | None]:
    """Return the first of the deliveries, for which *rate* has moments now, and in how many seconds it has the next."""
    now = chosen[0]["now"]
    count = rate.take(now, len(chosen))
    return chosen[:count], None if count == len(chosen) else max(0.0, (rate.slot_at - now).total_seconds())


def _may_end(principal: Principal, subscription: Subscription) -> bool:
    return subscription.is_owned_by(principal.reach) and principal.may_all(
        Permission.DELIVERIES, subscription.spec.name
    )


def _error(row: Row, repeated: tuple[str, Outcome] | None) -> str | None:
    """Return why a lease cannot be ended, or extended; None if it can, or has ended like that before (*repeated*)."""
    if row["how"] is not None and repeated is not None and row["how"] == repeated[0]:
        if row["failed_as"] in {None, repeated[1].value}:
            return None
        return f"the lease was failed before, as {row['failed_as']}"
    if row["how"] in {"acknowledged", "failed", "returned"}:
        return f"the lease was {row['how']} before"
    if row["is_over"]:
        return f"the lease ended at {show_moment(row['until'])}"
    if row["under_way"]:
        return None
    return f"the delivery is {row['state'] or 'gone'}" + (f": {row['reason']}" if row["reason"] else "")


def _uncounted(ended: Ended) -> Ended:
    return replace(ended, uncounted=True, state=DeliveryState.PARKED, pause=timedelta(), reason=Reason.RETRY)


def _ended(row: Row, subscription: Subscription, result: Result) -> Ended:
    due = DueAttempt(row["signal_id"], row["subscription_id"], row["number"], attempt_queue(LEASED))
    state, pause, reason = judge(result, subscription.spec.schedule, due.attempt - (row["redriven"] or 0))
    if pause is not None and result.retry_after is not None:
        pause = max(pause, result.retry_after)  # what a worker asks for is not cut as a receiver's Retry-After is
    return Ended(
        due=due,
        result=result,
        state=state,
        pause=pause,
        started_at=row["began_at"],
        duration=row["now"] - row["began_at"],
        reason=reason,
        in_group=bool(row["in_group"]),
        admitted=Admitted(slot=row["slot"]),
    )
