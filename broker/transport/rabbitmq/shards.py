"""Queues that are split into shards: which shard gets a message, and one inbox for all of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Self
from zlib import crc32

from broker.topology import ATTEMPT, DELIVERIES, RECORD, SHARDED, Sharding, shard_names
from broker.transport import HELD_BYTES, Received, Settlement
from broker.transport.rabbitmq.arrivals import Arrivals
from broker.transport.rabbitmq.inbox import RabbitInbox

_LOOK_EVERY = 0.2
_TAGS = 1 << 48
"""The numbers between the tags of two inboxes: more messages than one of them ever gets."""

_ROUTES = {("", RECORD): RECORD, (DELIVERIES, ATTEMPT): ATTEMPT}
"""The split queue that an exchange and a routing key lead to."""


class Shards:
    """The shards of the queues, as far as this process knows them.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known = dict.fromkeys(SHARDED, Sharding())
        self._valid_until = dict.fromkeys(SHARDED, float("-inf"))

    def split(self, queue: str, sharding: Sharding, *, valid: timedelta) -> None:
        """Take note that *queue* is split as *sharding* says, and messages are published so for the time *valid*."""
        self._known[queue] = sharding
        self._valid_until[queue] = self._clock() + valid.total_seconds()

    def count(self, queue: str) -> int:
        """Return how many shards of *queue* are consumed; 1 if it cannot be split."""
        known = self._known.get(queue)
        return 1 if known is None else known.consumed

    def names(self, queue: str) -> tuple[str, ...]:
        """Return the queues that *queue* is split into, as far as they may hold messages; only itself if it is not."""
        known = self._known.get(queue)
        return (queue,) if known is None else shard_names(queue, known.count)

    def choose(self, exchange: str, routing_key: str, by: int | str) -> str:
        """Return the routing key of a message to *exchange* with *routing_key*, after its shard is chosen *by* that."""
        queue = _ROUTES.get((exchange, routing_key))
        if queue is None or (count := self._known[queue].published) == 1 or self._clock() > self._valid_until[queue]:
            return routing_key
        number = (by if isinstance(by, int) else crc32(by.encode())) % count
        return shard_names(queue, count)[number]


class ShardedInbox:
    """See `broker.transport.Inbox`: one inbox per shard, whose messages come together in the order of their arrival.

    What may be unsettled is divided by the number of shards. An async context manager, as `RabbitInbox`.

    Args:
        queue: The name of the queue that may be split.
        count: Into how many shards it is.
        prefetch: Most unsettled messages, but one of each shard at least.
        make: Makes the inbox of a shard, given its name and the keywords of `RabbitInbox` that are divided or shared.
    """

    def __init__(self, queue: str, count: int, *, prefetch: int, make: Callable[..., RabbitInbox]) -> None:
        self.queue = queue
        self._count = count
        self._prefetch = prefetch
        self._make = make
        self._arrivals = Arrivals()
        self._base = 0
        self._parts: dict[str, RabbitInbox] = {}
        self._changed = asyncio.Event()
        self._changing: asyncio.Task[None] | None = None
        self._suspended = False

    async def __aenter__(self) -> Self:
        await self._open_missing()
        self._changing = asyncio.create_task(self._change())
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._changing is not None:
            self._changing.cancel()
            await asyncio.wait([self._changing])
        await asyncio.gather(*(part.__aexit__(*exception) for part in self._parts.values()))

    @property
    def parts(self) -> Sequence[RabbitInbox]:
        """The inboxes of the shards, those included that are left as soon as they hold nothing."""
        return list(self._parts.values())

    @property
    def consuming(self) -> bool:
        """Whether the server has a consumer of each shard, as far as we know, or messages go to others only."""
        wanted = shard_names(self.queue, self._count)
        return self._suspended or all(name in self._parts and self._parts[name].channel for name in wanted)

    @property
    def unsettled(self) -> Sequence[int]:
        """The tags of the unsettled messages; those of each shard are in the order in which they came."""
        return [tag for part in self.parts for tag in part.unsettled]

    @property
    def lost_at(self) -> float:
        """When the consumer of a shard was last lost, but not with its queue."""
        return max((part.lost_at for part in self.parts), default=float("-inf"))

    def spread(self, count: int) -> None:
        """Consume *count* shards from now on: others as soon as they are declared, or until nothing of them is held."""
        if count != self._count:
            self._count = count
            self._changed.set()

    def suspend(self) -> None:
        """See `broker.transport.Inbox.suspend`."""
        self._suspended = True
        for part in self.parts:
            part.suspend()

    def resume(self) -> None:
        """See `broker.transport.Inbox.resume`."""
        self._suspended = False
        for part in self.parts:
            part.resume()

    def begin_again(self) -> None:
        """Consume on other channels: a shard is another queue now."""
        for part in self.parts:
            part.begin_again()

    async def receive(self, limit: int, *, max_bytes: int = sys.maxsize) -> Sequence[Received]:
        """See `broker.transport.Inbox.receive`."""
        return await self._arrivals.take(limit, max_bytes=max_bytes)

    async def settle(self, messages: Sequence[Received], settlement: Settlement) -> None:
        """See `broker.transport.Inbox.settle`."""
        for part in self.parts:
            await part.settle(messages, settlement)

    async def _change(self) -> None:
        """Open and leave inboxes as their number changes."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._open_missing()
            while surplus := self._parts.keys() - set(shard_names(self.queue, self._count)):
                await asyncio.gather(*map(self._leave_if_empty, surplus))
                if self._changed.is_set():
                    break
                await asyncio.sleep(_LOOK_EVERY)

    async def _open_missing(self) -> None:
        count = self._count
        share = {"prefetch": max(1, self._prefetch // count), "held_bytes": HELD_BYTES // count}
        for part in self.parts:
            part.resize(**share)
        for name in shard_names(self.queue, count):
            if name not in self._parts:
                self._base += _TAGS
                part = self._make(name, arrivals=self._arrivals, base=self._base, **share)
                if self._suspended:
                    part.suspend()
                self._parts[name] = await part.__aenter__()

    async def _leave_if_empty(self, name: str) -> None:
        if not self._parts[name].unsettled:
            await self._parts[name].__aexit__(None, None, None)
            del self._parts[name]
