"""Headroom: how many more attempts may wait in the queues, and whose they may be.

A queue hands out in order, so whoever comes last waits for all before. To publish more than the deliverers begin soon
helps nobody: that waits in PostgreSQL, and is brought back fairly (see `broker.store.deliveries.holding`). How many
they begin soon shows in how fast the queue is drained.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import lru_cache

import structlog

from broker.errors import TransportError, Unroutable
from broker.store.deliveries.contenders import Contender
from broker.subscriptions import Subscription
from broker.topology import ATTEMPT, LANES, attempt_queue, is_leased
from broker.transport import Transport
from workers.fairness import divide_by
from workers.shares import Levels, Pool, Share

CAPACITY, _MOST = 400, 8000
"""How many attempts may wait in a queue at least, and at most: as many as deliverers begin within `_AHEAD`."""
_AHEAD = 0.5
"""For how many seconds ahead attempts are published, if these are more than the least."""
_UNSEEN = 1 / 5
"""After what part of its capacity has been published it is looked again how many messages wait. So few are quick in any
case."""
_USED = 1 / 4
"""What part of its capacity was published to a queue that is empty all the same, so that it may hold more."""
_FORGOTTEN = 10.0
"""Seconds without a look after which it is not known any more how fast a queue is drained."""
_FRESH, _FRESH_IF_EMPTY = 0.05, 1.0
"""Seconds for which a look tells how many attempts may be published; longer if the queue was empty, and still is as far
as this process knows."""
_TENANT, _SUBSCRIPTION = 128.0, 1024.0
"""The weights of shares (see `Pool`): one tenant alone has four fifths, one of its subscriptions nearly as much."""
_NEWCOMERS = CAPACITY
"""How many of those that have nothing waiting may have one attempt each beyond the capacity."""
_REMEMBERED = 20_000

log = structlog.get_logger()


class _Queue:
    """What this process knows of one queue."""

    def __init__(self) -> None:
        self.capacity = CAPACITY
        self.pool = Pool(CAPACITY)
        self.sent: deque[Levels] = deque()
        """What this process has published and may still wait, the oldest first."""
        self.unseen = 0
        """How many were published since the last look."""
        self.depth = 0
        """How many messages waited at the last look."""
        self.looked = float("-inf")
        self.lock = asyncio.Lock()

    def is_fresh(self, now: float) -> bool:
        """Return whether what is known of the queue is new enough to go by."""
        return now - self.looked <= (_FRESH if self.depth or self.sent else _FRESH_IF_EMPTY)

    def send(self, levels: Levels = ()) -> None:
        self.pool.take(levels)
        self.sent.append(levels)
        self.unseen += 1

    def observe(self, depth: int, published: int, unseen: int, now: float) -> None:
        """Note that *depth* messages waited when so many of `sent` were published: the newest ones, at most.

        So many of these were *unseen*: published since the look before.
        """
        self._adapt(depth, self.depth + unseen - depth, unseen, now - self.looked)
        self.depth, self.looked = depth, now
        waiting = min(depth, published)
        for _ in range(published - waiting):
            self.pool.give_back(self.sent.popleft())
        self.unseen = len(self.sent) - waiting
        self.pool.resize(max(1, self.capacity - (depth - waiting)))

    def _adapt(self, depth: int, drained: int, unseen: int, elapsed: float) -> None:
        """Adapt the capacity to how many were *drained* in so many seconds, of which *depth* are left."""
        if elapsed > _FORGOTTEN:
            self.capacity = CAPACITY
        elif depth:
            self.capacity = max(CAPACITY, min(self.capacity, int(drained / max(elapsed, 1e-3) * _AHEAD)))
        elif unseen >= self.capacity * _USED:
            self.capacity = min(_MOST, 2 * self.capacity)

    @property
    def is_due(self) -> bool:
        """Whether so much was published since the last look that it is time for another one."""
        return self.unseen >= self.capacity * _UNSEEN

    @property
    def had_little(self) -> bool:
        """Whether there was little room at the last look."""
        return self.pool.room(()) < self.capacity * _UNSEEN


class Headroom:
    """Tells whose attempts may go to their queues, from how many messages wait there and what this process published.

    What callers lease goes to no queue, so there is always room for it. Tenants and subscriptions share the room of a
    queue as they share the places of a deliverer: the less is free the
    less each may have, and some is left for the next one. Subscriptions of no tenant share as those of one do. Each
    process knows of the others' publishes only how many wait.

    Args:
        transport: Where the queues are.
        timeout: How long it may take to look.
        clock: Monotonic seconds.
    """

    def __init__(
        self, transport: Transport, *, timeout: timedelta, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = transport
        self._timeout = timeout
        self._clock = clock
        self._queues: dict[str, _Queue] = {}

    async def look(self) -> None:
        """Look at the queues to which this process has published some attempts since the last look.

        Those that had little room then are looked at in any case: it may have become free.
        """
        for name, queue in list(self._queues.items()):
            had_little = queue.had_little and self._clock() - queue.looked > _FRESH
            if (queue.is_due or had_little) and not queue.lock.locked():  # else another task is looking
                await self._look(name, queue)

    def has_room(self, subscription: Subscription) -> bool:
        """Return whether the next attempt of *subscription* may go to its queue; it takes the room then."""
        name = attempt_queue(subscription.spec.target.app)
        if is_leased(name):
            return True
        queue = self._queue(name)
        levels = _levels(subscription.tenants, subscription.id)
        if not queue.pool.room(levels) and not queue.pool.owes_one(levels, within=_NEWCOMERS):
            return False
        queue.send(levels)
        return True

    async def free(self, name: str = ATTEMPT) -> int:
        """Return how many more attempts that have waited in the store, whosever they are, may go to the queue.

        That is half of the room: they are there all the time, and would leave none to what is thrown now. They have to
        be noted.
        """
        if is_leased(name):
            return _MOST
        queue = self._queue(name)
        if not queue.is_fresh(self._clock()):
            await self._look(name, queue)
        return -(-queue.pool.room(()) // 2)

    async def divide(
        self, wanted: Mapping[int, int], contenders: Mapping[int, Contender], *, most: int
    ) -> dict[int, int]:
        """Return how many attempts of each subscription may go, of so many *wanted*, and of *most* for a queue.

        Tenants share the room of a queue, and the subscriptions of a tenant what it gets; the first ones of *wanted*
        go first. They have to be noted.
        """
        by_queue: dict[str, dict[int, int]] = {}
        for key, count in wanted.items():
            by_queue.setdefault(attempt_queue(contenders[key].app), {})[key] = count
        divided: dict[int, int] = {}
        for queue, of_queue in by_queue.items():
            divided |= divide_by(of_queue, lambda key: contenders[key].tenants, min(await self.free(queue), most))
        return divided

    def note(self, names: Iterable[str]) -> None:
        """Note attempts that are published to these queues."""
        for name in names:
            if not is_leased(name):
                self._queue(name).send()

    def _queue(self, name: str) -> _Queue:
        name = ATTEMPT if name in LANES else name
        if name not in self._queues:
            self._queues[name] = _Queue()
        return self._queues[name]

    async def _look(self, name: str, queue: _Queue) -> None:
        async with queue.lock:
            published, unseen = len(queue.sent), queue.unseen
            try:
                depth = sum(await asyncio.gather(*map(self._depth, LANES if name == ATTEMPT else (name,))))
            except Unroutable:
                depth = published  # what cannot be published waits until the scheduler publishes it again
            except TransportError as error:
                log.debug("depth.unknown", queue=name, error=str(error))
                return
            queue.observe(depth, published, unseen, self._clock())

    async def _depth(self, queue: str) -> int:
        return await self._transport.depth(queue, timeout=self._timeout)


@lru_cache(_REMEMBERED)
def _levels(tenants: tuple[str, ...] | None, subscription_id: int) -> Levels:
    return [[Share(("tenants", tenants), _TENANT)], [Share(("subscription", subscription_id), _SUBSCRIPTION)]]
