"""Leasing: callers wait for deliveries to pull targets, and say how their attempts ended.

recorder, scheduler, resumption --> a delivery can be leased --NOTIFY, or a look every 5 s--> each gateway
                                                                                                   |
                                     one caller after the other leases, as long as there is more <-+
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from broker.access import Principal
from broker.deliveries import Outcome, Result
from broker.errors import StoreUnavailable
from broker.operations.attempts import report_attempt
from broker.store.deliveries.leasable import Leasable, LeasableStore, Named
from broker.store.deliveries.leases import (
    MOST_BYTES,
    Held,
    Lease,
    Leased,
    LeaseStore,
    Settled,
    count_fitting,
)
from broker.subscriptions import Subscription
from broker.targets import Kind

DEFAULT_DURATION = timedelta(seconds=30)
"""How long a lease lasts if neither the caller nor the subscription says so."""
_LOOK_EVERY = 5.0
"""Seconds between looks for what no notification told, as behind a pooler."""
_AT_ONCE = 4
"""How many requests lease, or end leases, at a time: fewer than there are connections to PostgreSQL."""
_PATIENCE = 10.0
"""For how many seconds a request waits for its turn at that."""

log = structlog.get_logger()


def duration_of(subscription: Subscription, wanted: timedelta | None) -> timedelta:
    """Return how long leases of a subscription last, if the caller *wanted* them to last that long."""
    return wanted or subscription.spec.timeout or DEFAULT_DURATION


@dataclass(frozen=True, slots=True)
class Sought:
    """Whose deliveries a caller wants.

    Args:
        keys: What the caller waits for: subscriptions by their ids, and all of a name.
        find: Returns how long leases last, by the ids of the subscriptions that the keys stand for at this moment.
            Those that have no deliveries to lease may be left out.
    """

    keys: Collection[int | Named]
    find: Callable[[], Awaitable[Mapping[int, timedelta]]]

    @classmethod
    def of(cls, durations: Mapping[int, timedelta]) -> Sought:
        """Return what stands for these subscriptions, whose targets are pull targets."""

        async def find() -> Mapping[int, timedelta]:
            return durations

        return cls(durations.keys(), find)


class Leasing:
    """Leases deliveries to callers, who may wait for them, and ends and extends their leases.

    Those who wait for the same deliveries are served in turn. While they wait they cost nothing but their
    connections: PostgreSQL notifies the process, which begins to listen with the first of them.
    """

    def __init__(self, leases: LeaseStore, leasable: LeasableStore) -> None:
        self._leases = leases
        self._leasable = leasable
        self._callers: dict[asyncio.Event, str] = {}
        """Those who wait, with the keys of their principals."""
        self._waiting: dict[int | Named, list[asyncio.Event]] = {}
        """They by what they wait for, in the order in which they came."""
        self._told: set[int] = set()
        """Subscriptions that have deliveries to lease, and whose names have not been looked up so far."""
        self._naming: asyncio.Task[None] | None = None
        self._later: dict[int, asyncio.TimerHandle] = {}
        self._looking: asyncio.Task[None] | None = None
        self._listens = False
        self._ended = False
        self._turns = asyncio.Semaphore(_AT_ONCE)

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._callers)

    def waiting_of(self, caller: str) -> int:
        """Return how many of those who wait are of the principal with that key."""
        return sum(key == caller for key in self._callers.values())

    def end(self) -> None:
        """Answer all waiting callers with no deliveries, and let none wait from now on."""
        self._ended = True
        for woken in self._callers:
            woken.set()

    async def lease(
        self,
        sought: Sought,
        *,
        most: int,
        wait: timedelta,
        worker: str | None,
        caller: str = "",
        may_go_on: Callable[[], Awaitable[bool]],
    ) -> Sequence[Lease]:
        """Lease up to *most* deliveries, those of the oldest signals; if there is none, wait for the first of them.

        Args:
            sought: Of which subscriptions.
            most: How many.
            wait: For how long.
            worker: Who asks, for people.
            caller: The key of the principal that asks.
            may_go_on: Returns whether a caller who waits is still there and may lease.

        Raises:
            TimeoutError: Too many requests lease at this moment.
        """
        if not wait or self._ended:
            return (await self._look_at(sought, most, worker)).leases
        clock, woken = asyncio.get_running_loop().time, asyncio.Event()
        deadline = clock() + wait.total_seconds()
        self._join(sought.keys, woken, caller)
        try:
            while not self._ended and await may_go_on():
                woken.clear()
                try:
                    leased = await self._look_at(sought, most, worker)
                except BaseException:
                    woken.set()  # which is passed on
                    raise
                if leased.leases:
                    if leased.more:
                        woken.set()  # which is passed on
                    return leased.leases
                try:
                    async with asyncio.timeout_at(deadline):
                        await woken.wait()
                except TimeoutError:
                    break
            return ()
        finally:
            self._leave(sought.keys, woken)

    async def _look_at(self, sought: Sought, most: int, worker: str | None) -> Leased:
        """Lease what there is; `Leased.more`: there may be more for others, at once."""
        leases: list[Lease] = []
        try:
            async with self._turn():
                durations = dict(await sought.find())
            while durations and len(leases) < most:
                async with self._turn():
                    oldest = await self._leasable.oldest(durations, most=most - len(leases))
                wanted = Counter(one.subscription_id for one in self._fitting(oldest, leases))
                if not wanted:
                    return Leased(leases, more=bool(leases) and _can_go(oldest))
                for subscription_id, count in wanted.items():
                    leased = await self._lease(
                        subscription_id, count, durations[subscription_id], worker, room=MOST_BYTES - _size(leases)
                    )
                    leases += leased.leases
                    if leased.more and leases:
                        return Leased(leases, more=True)
                    if len(leased.leases) < count and not leased.more:
                        del durations[subscription_id]  # others have them, or a limit keeps them back
        except (StoreUnavailable, TimeoutError):
            if not leases:
                raise
            return Leased(leases, more=True)  # the caller is to have those
        return Leased(leases, more=len(leases) == most)

    async def _lease(
        self, subscription_id: int, most: int, duration: timedelta, worker: str | None, *, room: int
    ) -> Leased:
        async with self._turn():
            leased = await self._leases.lease(subscription_id, most=most, duration=duration, worker=worker, room=room)
        if leased.again_in is not None:
            self._wake_later(subscription_id, leased.again_in)
        return leased

    def _fitting(self, oldest: Sequence[Leasable], leases: Sequence[Lease]) -> Sequence[Leasable]:
        """Return the first of the *oldest* that can go now, as far as there is room for them beside *leases*."""
        for one in oldest:
            if one.again_in is not None:
                self._wake_later(one.subscription_id, one.again_in)
        ready = [one for one in oldest if one.again_in is None]
        return ready[: count_fitting([one.size for one in ready], MOST_BYTES - _size(leases))]

    async def newest(self, signal_id: int, subscription_id: int) -> Held | None:
        """Return the newest lease of a delivery; see `LeaseStore.newest`."""
        async with self._turn():
            return await self._leases.newest(signal_id, subscription_id)

    async def acknowledge(self, digests: Sequence[bytes], *, by: Principal) -> Settled:
        """End attempts that have succeeded; see `LeaseStore.end`."""
        result = Result(outcome=Outcome.SUCCEEDED)
        return await self._end(lambda: self._leases.end(digests, result, by=by))

    async def fail(
        self,
        digests: Sequence[bytes],
        outcome: Outcome,
        *,
        retry_after: timedelta | None,
        error: str | None,
        by: Principal,
    ) -> Settled:
        """End attempts that have failed; see `LeaseStore.end`.

        Args:
            digests: Those of the lease tokens.
            outcome: How they failed.
            retry_after: How long to wait at least before the next attempts.
            error: What went wrong, for people.
            by: The caller.
        """
        result = Result(outcome=outcome, error=error or "the caller did not say why", retry_after=retry_after)
        return await self._end(lambda: self._leases.end(digests, result, by=by))

    async def return_unused(self, digests: Sequence[bytes], *, by: Principal) -> Settled:
        """End attempts that were not made after all; see `LeaseStore.return_unused`."""
        return await self._end(lambda: self._leases.return_unused(digests, by=by))

    async def extend(self, digests: Sequence[bytes], duration: timedelta, *, by: Principal) -> Settled:
        """Let leases last for *duration* from now on; see `LeaseStore.extend`."""
        async with self._turn():
            return await self._leases.extend(digests, duration, by=by)

    async def _end(self, end: Callable[[], Awaitable[Settled]]) -> Settled:
        async with self._turn():
            settled = await end()
        for attempt, thrown_at in settled.ended:
            report_attempt(attempt, Kind.PULL, thrown_at=thrown_at)
        return settled

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with asyncio.timeout(_PATIENCE):
            await self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()

    def _join(self, keys: Iterable[int | Named], woken: asyncio.Event, caller: str) -> None:
        if not self._listens:
            self._leases.listen(self._hear)
            self._listens = True
        self._callers[woken] = caller
        for key in keys:
            self._waiting.setdefault(key, []).append(woken)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="leasable")

    def _leave(self, keys: Iterable[int | Named], woken: asyncio.Event) -> None:
        del self._callers[woken]
        for key in keys:
            waiting = self._waiting[key]
            waiting.remove(woken)
            if not waiting:
                del self._waiting[key]
            elif woken.is_set():
                self._wake(key)
        if not self._callers and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _hear(self, subscription_id: int | None) -> None:
        if subscription_id is None:
            for key in list(self._waiting):
                self._wake(key)
            return
        self._wake(subscription_id)
        if any(isinstance(key, Named) for key in self._waiting):
            self._told.add(subscription_id)
            if self._naming is None:
                self._naming = asyncio.create_task(self._wake_by_name(), name="leasable:names")

    async def _wake_by_name(self) -> None:
        """Wake those who wait for the names of the subscriptions in `_told`; what fails is left to `_look`."""
        try:
            while self._told:
                told, self._told = self._told, set()
                with suppress(StoreUnavailable):
                    names = await self._leasable.names(told)
                    for key in [one for one in self._waiting if isinstance(one, Named) and one.name in names]:
                        self._wake(key)
        finally:
            self._naming = None

    def _wake(self, key: int | Named) -> None:
        """Wake the first of those who wait for that and are not awake."""
        for event in self._waiting.get(key, ()):
            if not event.is_set():
                event.set()
                return

    def _wake_later(self, subscription_id: int, seconds: float) -> None:
        if subscription_id not in self._later:
            self._later[subscription_id] = asyncio.get_running_loop().call_later(
                seconds, self._wake_now, subscription_id
            )

    def _wake_now(self, subscription_id: int) -> None:
        del self._later[subscription_id]
        self._hear(subscription_id)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            for key in [one for one in self._waiting if isinstance(one, Named)]:
                self._wake(key)
            with suppress(StoreUnavailable):
                for subscription_id in await self._leasable.find(
                    [one for one in self._waiting if isinstance(one, int)]
                ):
                    self._wake(subscription_id)


def _size(leases: Iterable[Lease]) -> int:
    return sum(len(lease.claimed.signal.throw.payload) for lease in leases)


def _can_go(oldest: Iterable[Leasable]) -> bool:
    return any(one.again_in is None for one in oldest)
