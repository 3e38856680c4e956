"""Matching: which subscriptions a signal matches, within budgets of time and without holding up the event loop.

    name, scope --> no filter, or one that is known at once --> matches, or does not
                         |
                         +--> long: evaluated in steps -------> matches, or does not
                                                       +------> exceeded: its budget is used up

A long evaluation gets a free time, and overtime from an allowance of its subscription, and from one of its tenant: a
filter that takes long now and then is evaluated to its end, and one that takes long all the time costs what is free.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from broker.filters import LONG, Context, Filter, Long
from broker.filters.steps import Search
from broker.offloading import LARGE, Offloader
from broker.signals import Signal
from broker.slices import Slice, Slices
from broker.subscriptions import Subscription, filtered_out

PAIR_SECONDS = 0.1
"""What the filter of one subscription may take for one signal, of a processor's time."""
FREE_SECONDS = 0.005
"""What all filters of a tenant may take for one signal without overtime."""
LEAST_SECONDS = 0.0005
"""What each filter may take for one signal, whatever the others take."""
_CHUNK = 100
"""Subscriptions after which it looks at the clock."""
_KEPT = 10_000
_LOOK_STEPS = 20
"""How many steps it takes at most to find what is under a path, of a fraction of a millisecond each."""


class Allowances:
    """Seconds that holders may take: each from an allowance of its own, which fills up again.

    Args:
        capacity: The seconds of a full allowance.
        rate: By how much it fills up in a second.
        clock: Tells the time in seconds.
    """

    def __init__(self, *, capacity: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._rate = rate
        self._clock = clock
        self._lefts: dict[Hashable, tuple[float, float]] = {}

    def left(self, holder: Hashable) -> float:
        """Return how many seconds *holder* may take; what it took too much is negative."""
        left, since = self._lefts.get(holder, (self._capacity, 0.0))
        return min(self._capacity, left + (self._clock() - since) * self._rate)

    def take(self, holder: Hashable, seconds: float) -> None:
        """Note that *holder* took so many seconds, if it may or not."""
        if len(self._lefts) > _KEPT:
            self._lefts = {one: self._lefts[one] for one in self._lefts if self.left(one) < self._capacity}
        self._lefts[holder] = self.left(holder) - seconds, self._clock()


@dataclass(frozen=True, slots=True)
class Matched:
    """What a signal matches.

    Args:
        matching: The subscriptions that it matches, in their order.
        exceeded: Those whose filters exceeded their budgets: it is not known whether it matches them.
    """

    matching: list[Subscription] = field(default_factory=list)
    exceeded: list[Subscription] = field(default_factory=list)


class Exceeded(Exception):
    """Raised when a filter exceeds its budget: it is not known whether the signal matches."""


class _Verdict(NamedTuple):
    """What a long evaluation came to, and the seconds of a processor's time that it took."""

    mismatch: str | None
    exceeded: bool
    seconds: float


class Matcher:
    """Matches signals with subscriptions, for all tasks of one event loop.

    Args:
        rest: How long it rests after each few milliseconds, as a multiple of them, so that others get the processor.
    """

    def __init__(self, *, rest: float = 0.0) -> None:
        self._slices = Slices(rest=rest)
        self._subscriptions = Allowances(capacity=0.2, rate=0.02)
        self._tenants = Allowances(capacity=0.3, rate=0.1)
        self._seconds: dict[int, float] = {}
        self._offloader = Offloader()
        self._searches = ThreadPoolExecutor(max_workers=1, thread_name_prefix="search")

    def slice(self) -> Slice:
        """Return a turn at computing; a context manager inside which the other methods are called."""
        return self._slices.take()

    async def match(self, signal: Signal, candidates: Sequence[Subscription], turn: Slice) -> Matched:
        """Return which of *candidates* the signal matches. What exceeds its budget does not take the others' time."""
        matched, filtered = Matched(), list[Subscription]()
        for start in range(0, len(candidates), _CHUNK):
            if turn.is_over:
                await turn.pause()
            for candidate in candidates[start : start + _CHUNK]:
                if candidate.unfit(signal) is None:
                    (matched.matching if candidate.spec.filter is None else filtered).append(candidate)
        if filtered:
            await self._read(signal.context, turn)
            long = await self._match_at_once(signal, filtered, matched, turn)
            await self._match_long(signal, long, matched, turn)
        return matched

    async def mismatch(
        self, subscription: Subscription, signal: Signal, turn: Slice, *, replayed: bool = False
    ) -> str | None:
        """Return why *signal* does not match, as `Subscription.mismatch` does; None if it matches.

        Raises:
            Exceeded: The filter takes longer than `PAIR_SECONDS`; no allowance is needed for less.
        """
        reason = subscription.unfit(signal, replayed=replayed)
        wanted = subscription.spec.filter
        if reason is None and wanted is not None:
            await self._read(signal.context, turn)
            found = wanted.mismatch_at_once(signal.context)
            if isinstance(found, Long):
                verdict = await self._evaluate(wanted, signal, PAIR_SECONDS, turn)
                if verdict.exceeded:
                    raise Exceeded
                found = verdict.mismatch
            reason = found and filtered_out(found)
        if turn.is_over:
            await turn.pause()
        return reason

    async def texts(self, signal: Signal, path: str, turn: Slice) -> tuple[str, ...] | None:
        """Return what *signal* has under *path* of its payload; None if that takes longer than a few milliseconds."""
        await self._read(signal.context, turn)
        steps = signal.context.find(path)
        for _ in range(_LOOK_STEPS):
            try:
                next(steps)
            except StopIteration as end:
                found: tuple[str, ...] = end.value
                return found
            if turn.is_over:
                await turn.pause()
        return None

    async def _read(self, context: Context, turn: Slice) -> None:
        """Read the payload: a large one in a thread."""
        if context.size > LARGE and not context.is_read:
            async with turn.suspended():
                await self._offloader.run(context.read, size=context.size)

    async def _match_at_once(
        self, signal: Signal, filtered: Sequence[Subscription], matched: Matched, turn: Slice
    ) -> list[Subscription]:
        """Add to *matched* what is known at once; return the subscriptions whose filters take longer."""
        long, context = [], signal.context
        for subscription in filtered:
            wanted = subscription.spec.filter
            assert wanted is not None  # noqa: S101  (it is filtered)
            reason = wanted.mismatch_at_once(context)
            if reason is None:
                matched.matching.append(subscription)
            elif reason is LONG:
                long.append(subscription)
            if turn.is_over:
                await turn.pause()
        return long

    async def _match_long(self, signal: Signal, long: list[Subscription], matched: Matched, turn: Slice) -> None:
        """Evaluate the filters of *long*, first those that took the least time before, within their budgets."""
        free: dict[str | None, float] = defaultdict(lambda: FREE_SECONDS)
        for subscription in sorted(long, key=lambda one: self._seconds.get(one.id, 0.0)):
            wanted, tenant = subscription.spec.filter, subscription.spec.tenant_id
            assert wanted is not None  # noqa: S101  (it takes long)
            overtime = min(self._subscriptions.left(subscription.id), self._tenants.left(tenant))
            budget = min(PAIR_SECONDS, max(LEAST_SECONDS, free[tenant] + max(0.0, overtime)))
            if budget < self._seconds.get(subscription.id, 0.0) and budget <= LEAST_SECONDS:
                matched.exceeded.append(subscription)  # it took longer the last time, and only that much is left
                continue
            verdict = await self._evaluate(wanted, signal, budget, turn, searching=overtime > 0)
            paid = max(0.0, verdict.seconds - free[tenant])
            free[tenant] = max(0.0, free[tenant] - verdict.seconds)
            if paid:
                self._subscriptions.take(subscription.id, paid)
                self._tenants.take(tenant, paid)
            self._note_seconds(subscription.id, verdict.seconds)
            if verdict.exceeded:
                matched.exceeded.append(subscription)
            elif verdict.mismatch is None:
                matched.matching.append(subscription)

    def _note_seconds(self, subscription_id: int, seconds: float) -> None:
        if len(self._seconds) > _KEPT:
            self._seconds.clear()
        self._seconds[subscription_id] = seconds

    async def _evaluate(
        self, wanted: Filter, signal: Signal, budget: float, turn: Slice, *, searching: bool = True
    ) -> _Verdict:
        """Evaluate *wanted* until *budget*, seconds of a processor's time, is used up.

        *searching*: whether long searches are made as well, the last of which may take longer than the budget.
        """
        steps, search = wanted.steps(signal.context), None
        seconds, began = 0.0, time.thread_time()
        found: bool | None = None
        while True:
            try:
                search = steps.send(found)
            except StopIteration as end:
                return _Verdict(end.value, exceeded=False, seconds=seconds + time.thread_time() - began)
            used, found = seconds + time.thread_time() - began, None
            if used > budget or (search is not None and not searching):
                return _Verdict(None, exceeded=True, seconds=used)
            if search is None and not turn.is_over:
                continue
            if search is None:
                await turn.pause()
            else:
                async with turn.suspended():
                    found, took = await asyncio.get_running_loop().run_in_executor(self._searches, _timed, search)
                used += took
            seconds, began = used, time.thread_time()


def _timed(search: Search) -> tuple[bool, float]:
    began = time.thread_time()
    return search(), time.thread_time() - began
