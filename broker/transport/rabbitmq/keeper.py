"""Keeps what was declared: parts of the topology that are lost are created again, while everything runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import chain

import structlog
from aiormq.exceptions import (  # noqa: TID251  (the fence)
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from broker.topology import Binding, Exchange, Queue, Topology
from broker.transport.rabbitmq.channel import Channel
from broker.transport.rabbitmq.link import Link, LinkLost, Refused, answers

CHECK_EVERY = 2.0
SHORTEST_PAUSE = 0.1

Part = Exchange | Queue | Binding

log = structlog.get_logger()


class Keeper:
    """Declares over *link*, and repeats it every `CHECK_EVERY` seconds.

    A part that exists is only looked at (passively), and one that is missing is created. Bindings cannot be looked at:
    they are made again. What the user may not create is left to an administrator, and not tried again.

    Args:
        link: Where to declare; it must not be the one that publishes, which RabbitMQ may block.
        on_missing: Called with the name of a queue that is missing, or was for a while, before it is created.
    """

    def __init__(self, link: Link, on_missing: Callable[[str], None]) -> None:
        self._link = link
        self._on_missing = on_missing
        self._kept: dict[Part, None] = {}
        self._present: set[Part] = set()
        self._missing: set[Part] = set()
        self._refused: set[Part] = set()
        self._created: set[str] = set()
        """What did not exist before, and may lack its bindings."""
        self._skipped: set[Binding] = set()
        self._woken = asyncio.Event()
        self._asking = asyncio.Lock()
        self._channel: Channel | None = None

    def keeps(self, name: str) -> bool:
        """Return whether an exchange or a queue of that name is kept."""
        return any(not isinstance(part, Binding) and part.name == name for part in self._kept)

    def leads_to_queue(self, exchange: str) -> bool:
        """Return whether a binding that is kept leads from *exchange* to a queue: it may route nothing nowhere."""
        return any(isinstance(part, Binding) and part.to == "queue" and part.source == exchange for part in self._kept)

    def lacks(self, queue: str) -> bool:
        """Return whether *queue* was found missing, and could not be created so far."""
        return any(isinstance(part, Queue) and part.name == queue for part in self._missing)

    def wake(self) -> None:
        """Check now: something may be missing."""
        self._woken.set()

    async def declare(self, topology: Topology) -> list[str]:
        """Create what is missing of *topology*, compare the arguments of the rest, and keep it from now on.

        A cluster of RabbitMQ 3 changes no binding while one of its nodes hangs, not even one that exists. So bindings
        between what existed before are left to `run` if the server does not answer.

        Returns:
            The queues that have arguments of an earlier version.

        Raises:
            LinkLost: The server did not answer.
            ChannelPreconditionFailed: Something exists with other arguments.
            ChannelAccessRefused: Something is missing, and the user may not create it.
        """
        earlier = []
        for exchange in topology.exchanges:
            await self._declare(exchange)
        for queue in topology.queues:
            earlier += await self._declare_any(queue)
        await self._bind_all(topology)
        self._kept |= dict.fromkeys(chain(topology.exchanges, topology.queues, topology.bindings))
        return earlier

    async def _bind_all(self, topology: Topology) -> None:
        declared: set[str] = {*(one.name for one in topology.exchanges), *(one.name for one in topology.queues)}
        existing = declared - self._created
        # Those that cannot wait come first: after one that is not answered, the server answers none.
        for binding in sorted(topology.bindings, key=lambda one: {one.source, one.destination} <= existing):
            try:
                await self._ensure(binding)
            except LinkLost as error:
                if not (self._link.up and {binding.source, binding.destination} <= existing):
                    raise
                log.warning("bindings.postponed", reason=str(error))
                return
        self._created.clear()

    async def unbind(self, binding: Binding) -> None:
        """Remove *binding*, if it exists."""
        self._kept.pop(binding, None)
        await self._ask(lambda channel: _unbind(channel, binding))

    async def run(self) -> None:
        """Check what is kept, every now and then and when woken."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY):
                    await self._woken.wait()
            self._woken.clear()
            with suppress(LinkLost):
                for part in sorted(self._kept, key=_rank):
                    await self._ensure_quietly(part)
            await asyncio.sleep(SHORTEST_PAUSE)

    async def _ensure_quietly(self, part: Part) -> None:
        """Create *part* if it is missing, or say once that this cannot be done."""
        try:
            await self._ensure(part)
        except Refused as error:
            if part not in self._refused:
                log.warning("topology.incomplete", part=part, error=str(error))
            self._refused.add(part)
        else:
            self._refused.discard(part)

    async def _ensure(self, part: Part) -> None:
        """Create *part* if it is missing."""
        if isinstance(part, Binding):
            await self._bind(part)
            return
        try:
            await self._ask(lambda channel: _declare(channel, part, passive=True))
        except ChannelNotFoundEntity:
            self._missing.add(part)
            self._report(part)
            await self._ask(lambda channel: _declare(channel, part))
            self._created.add(part.name)
        self._missing.discard(part)
        self._present.add(part)

    def _report(self, part: Exchange | Queue) -> None:
        """Report once that *part*, which was present, is missing."""
        if part not in self._present:
            return
        self._present.remove(part)
        log.warning("topology.missing", kind=type(part).__name__.lower(), name=part.name)
        if isinstance(part, Queue):
            self._on_missing(part.name)
        elif part.witness:
            for binding in self._kept:
                if isinstance(binding, Binding) and binding.source == part.name:
                    self._on_missing(binding.destination)

    async def _declare(self, part: Exchange | Queue) -> None:
        """Create *part* if it is missing; else compare it, if the user may."""
        await self._ensure(part)
        with suppress(ChannelAccessRefused):
            await self._ask(lambda channel: _declare(channel, part))

    async def _declare_any(self, queue: Queue) -> list[str]:
        """Create *queue* if it is missing; return its name if it is one of an earlier version."""
        try:
            await self._declare(queue)
        except ChannelPreconditionFailed:
            for earlier in queue.earlier:
                with suppress(ChannelPreconditionFailed):
                    await self._declare(earlier)
                    return [queue.name]
            raise
        return []

    async def _bind(self, binding: Binding) -> None:
        if binding in self._skipped:
            return
        try:
            await self._ask(lambda channel: _bind(channel, binding))
        except ChannelAccessRefused as error:
            self._skipped.add(binding)
            log.info("binding.skipped", source=binding.source, destination=binding.destination, reason=str(error))

    async def _ask(self, do: Callable[[Channel], Awaitable[None]]) -> None:
        """Do one thing on a channel that lives until the server refuses something, or does not answer."""
        async with self._asking:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._link.open(Channel)
            channel, self._channel = self._channel, None
            try:
                async with answers(self._link.timeout):
                    await do(channel)
            except Refused:
                raise  # the server has closed the channel
            except BaseException:
                self._link.discard(channel)  # a late answer would be taken for that to the next question
                raise
            self._channel = channel


async def _declare(channel: Channel, part: Exchange | Queue, *, passive: bool = False) -> None:
    if isinstance(part, Exchange):
        await channel.exchange_declare(
            part.name, exchange_type=part.kind, durable=True, auto_delete=part.witness, passive=passive
        )
    else:
        await channel.queue_declare(part.name, durable=True, passive=passive, arguments=dict(part.arguments))


async def _bind(channel: Channel, binding: Binding) -> None:
    bind = channel.queue_bind if binding.to == "queue" else channel.exchange_bind
    await bind(binding.destination, binding.source, binding.routing_key)


async def _unbind(channel: Channel, binding: Binding) -> None:
    unbind = channel.queue_unbind if binding.to == "queue" else channel.exchange_unbind
    await unbind(binding.destination, binding.source, binding.routing_key)


def _rank(part: Part) -> int:
    return (Exchange, Queue, Binding).index(type(part))
