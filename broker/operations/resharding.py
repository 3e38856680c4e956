"""Resharding: a queue gets more shards or fewer while everything runs, and no message is lost.

more   declare the new ones -> all processes consume them -> they get messages
fewer  publishing to the surplus ones stops -> they are drained -> their consumers are cancelled -> they are deleted
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Protocol

from broker.errors import Unavailable, Unroutable
from broker.shards import LOOK_EVERY, VALID
from broker.store.shards import ShardStore
from broker.topology import MOST_SHARDS, Sharding, shard_names, shard_topology
from broker.transport import Transport
from broker.transport.sharding import ShardingTransport

CONSUMED_WITHIN = timedelta(minutes=1)
"""How long all consumers may take to begin or to end: those of a process that died count until its link is given up."""
DRAINED_WITHIN = timedelta(hours=1)
_LOOK_EVERY = 0.5
MEASURED_WITHIN = timedelta(seconds=12)
"""The maximum age of RabbitMQ's counts of unacknowledged messages, which it refreshes every five seconds."""
_ASKED_WITHIN = timedelta(seconds=30)
"""How long it may take to ask RabbitMQ and PostgreSQL afterwards."""
_FOREVER = timedelta(days=1)


class _ShardingTransport(ShardingTransport, Transport, Protocol):
    """A transport that can do both."""


class Resharder:
    """Changes the number of shards; one at a time does. Interrupted, it goes on when it is called again.

    Args:
        store: Where the numbers are.
        transport: Where the queues are.
        timeout: How long RabbitMQ may take for a question, and a process to publish a message.
        valid: For how long processes publish by what they have read.
        drained_within: How long the surplus shards may take to run empty.
        measured_within: The maximum age of RabbitMQ's counts of unacknowledged messages.
    """

    def __init__(
        self,
        store: ShardStore,
        transport: _ShardingTransport,
        *,
        timeout: timedelta,
        valid: timedelta = VALID,
        drained_within: timedelta = DRAINED_WITHIN,
        measured_within: timedelta = MEASURED_WITHIN,
    ) -> None:
        self._store = store
        self._transport = transport
        self._timeout = timeout
        self._valid = valid
        self._drained_within = drained_within
        self._measured_within = measured_within

    async def reshard(self, queue: str, count: int) -> AsyncGenerator[str, None]:
        """Split *queue* into *count* shards; yield each step, in words, before it is taken.

        Raises:
            Unavailable: Another command is changing the numbers; or RabbitMQ does not answer or does not show what it
                has handed out, or consumers did not begin or end, or shards did not run empty in time. All shards are
                consumed, and another call goes on.
            StoreUnavailable: PostgreSQL did not answer.
            ConfigurationError: The user may not declare or delete a shard, or it exists with other arguments.
        """
        async with self._store.changing() as alone:
            if not alone:
                raise Unavailable("another command is changing the numbers of shards: wait for it")
            known = (await self._store.read())[queue]
            known = Sharding(known.published, await self._find_last(queue, known.count))
            self._transport.shard(queue, known, valid=_FOREVER)
            steps = self._grow(queue, known, count) if count > known.published else self._shrink(queue, known, count)
            async with aclosing(steps):
                async for step in steps:
                    yield step

    async def _grow(self, queue: str, known: Sharding, count: int) -> AsyncGenerator[str, None]:
        new = shard_names(queue, count, first=known.published)
        consumed = max(known.consumed, count)
        yield f"declaring {', '.join(new)}"
        await self._transport.declare(shard_topology(queue, consumed))
        await self._write(queue, Sharding(known.published, consumed))
        yield "waiting until they are consumed"
        await self._until(lambda: self._are_consumed(queue, new), CONSUMED_WITHIN, f"a consumer of each of {new}")
        yield "letting them have messages"
        await self._write(queue, Sharding(count, consumed))
        if consumed > count:
            async for step in self._shrink(queue, Sharding(count, consumed), count):
                yield step

    async def _shrink(self, queue: str, known: Sharding, count: int) -> AsyncGenerator[str, None]:
        surplus = shard_names(queue, known.consumed, first=count)
        if not surplus:
            await self._transport.declare(shard_topology(queue, count))  # they may have been lost
            return
        await self._are_unused(surplus)  # to see that it can be seen
        yield f"letting {', '.join(surplus)} have no more messages"
        await self._write(queue, Sharding(count, known.consumed))
        await asyncio.sleep((self._valid + self._timeout).total_seconds())
        end = asyncio.get_running_loop().time() + self._drained_within.total_seconds()
        while True:
            yield "waiting until they are empty"
            await self._until(lambda: self._are_empty(surplus), self._drained_within, f"the end of {surplus}")
            yield "waiting until they are not consumed any more"
            if await self._end_consuming(queue, known, count, surplus):
                break
            if asyncio.get_running_loop().time() > end:
                raise Unavailable(f"a consumer holds messages of {', '.join(surplus)}: run the command again")
        yield "deleting them"
        # Until every process has stopped looking for them.
        await asyncio.sleep(min(self._valid, LOOK_EVERY).total_seconds())
        for name in reversed(surplus):
            await self._transport.delete(name, timeout=self._timeout)

    async def _end_consuming(self, queue: str, known: Sharding, count: int, surplus: Sequence[str]) -> bool:
        """End the consumers of the *surplus*; return whether it is empty afterwards, else it is consumed again.

        It is consumed again, too, after a while, if this process or PostgreSQL is lost meanwhile.
        """
        ended = False
        await self._store.suspend(queue, within=CONSUMED_WITHIN + self._measured_within + _ASKED_WITHIN)
        try:
            await self._until(lambda: self._are_left(surplus), CONSUMED_WITHIN, f"the last consumer of {surplus}")
            await asyncio.sleep(self._measured_within.total_seconds())
            ended = await self._are_empty(surplus) and await self._are_unused(surplus)
        finally:
            await self._write(queue, Sharding(count, count if ended else known.consumed))
        return ended

    async def _write(self, queue: str, sharding: Sharding) -> None:
        await self._store.write(queue, sharding)
        self._transport.shard(queue, sharding, valid=_FOREVER)

    async def _find_last(self, queue: str, consumed: int) -> int:
        """Return how many shards there are: more than are *consumed* if a call ended before it deleted the others."""
        for name in shard_names(queue, MOST_SHARDS, first=consumed):
            try:
                await self._transport.depth(name, timeout=self._timeout)
            except Unroutable:
                break
            consumed += 1
        return consumed

    async def _are_consumed(self, queue: str, shards: Sequence[str]) -> bool:
        """Return whether each of *shards* has a consumer, or there is none at all: then nothing is under way."""
        counts = [await self._transport.consumers(name, timeout=self._timeout) for name in shards]
        return all(counts) or not (any(counts) or await self._transport.consumers(queue, timeout=self._timeout))

    async def _are_left(self, shards: Sequence[str]) -> bool:
        return not any([await self._transport.consumers(name, timeout=self._timeout) for name in shards])

    async def _are_empty(self, shards: Sequence[str]) -> bool:
        return not any([await self._transport.depth(name, timeout=self._timeout) for name in shards])

    async def _are_unused(self, shards: Sequence[str]) -> bool:
        """Return whether nothing of *shards* is handed out: a consumer that ended may still hold something."""
        try:
            return all([await self._transport.total(name, timeout=self._timeout) == 0 for name in shards])
        except Unavailable as error:
            raise Unavailable(
                f"RabbitMQ does not show what was handed out of {', '.join(shards)} ({error}): set"
                " SIGNAL_BROKER_MANAGEMENT_URL"
            ) from error

    async def _until(self, holds: Callable[[], Awaitable[bool]], within: timedelta, what: str) -> None:
        try:
            async with asyncio.timeout(within.total_seconds()):
                while not await holds():  # noqa: ASYNC110  (no event tells)
                    await asyncio.sleep(_LOOK_EVERY)
        except TimeoutError:
            raise Unavailable(f"{what} was awaited for {within.total_seconds():g} s: run the command again") from None
