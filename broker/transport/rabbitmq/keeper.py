"""Keeps what was declared: parts of the topology that are lost are created again, while everything runs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TypeVar

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
ASK_AGAIN_EVERY = 30.0
"""Seconds between questions of which one was refused before: each leaves a line in the server's log."""

Part = Exchange | Queue | Binding
P = TypeVar("P", bound=Part)

log = structlog.get_logger()


class Keeper:
    """Declares over *link*, and repeats it every `CHECK_EVERY` seconds.

    A part that exists is only looked at (passively), and one that is missing is created. Bindings cannot be looked at:
    they are made again. One part of each check is compared with what was declared, since a look does not show its kind.

    What the user may not do is left to an administrator, and tried again: in every check if something is known to be
    missing, else one thing every `ASK_AGAIN_EVERY` seconds.

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
        self._wrong: set[Part] = set()
        """What exists, and is of another kind than was declared."""
        self._earlier: dict[Exchange | Queue, Exchange | Queue] = {}
        """As what queues that an earlier version declared exist."""
        self._refused: set[Part] = set()
        """What could not be created when it was last tried: the log has it."""
        self._created: set[str] = set()
        """What did not exist before, and may lack its bindings."""
        self._bound: set[Binding] = set()
        self._denied: dict[Binding, None] = {}
        """What may exist, and the user may not make; the one that was tried last is the last."""
        self._make_again_at = self._compare_again_at = float("-inf")
        self._to_compare: deque[Exchange | Queue] = deque()
        self._woken = asyncio.Event()
        self._asking = asyncio.Lock()
        self._channel: Channel | None = None

    def keeps(self, name: str) -> bool:
        """Return whether an exchange or a queue of that name is kept."""
        return any(not isinstance(part, Binding) and part.name == name for part in self._kept)

    def leads_to_queue(self, exchange: str) -> bool:
        """Return whether a binding that is kept leads from *exchange* to a queue: it may route nothing nowhere."""
        return any(isinstance(part, Binding) and part.to == "queue" and part.source == exchange for part in self._kept)

    def lacks(self, name: str) -> bool:
        """Return whether an exchange or queue is missing or of another kind, or lacks a binding that leads to it.

        That is: it was found so, and could not be mended so far.
        """
        wrong = any(not isinstance(part, Binding) and part.name == name for part in self._missing | self._wrong)
        return wrong or any(
            isinstance(part, Binding) and part.destination == name and self._is_unmade(part) for part in self._kept
        )

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
            earlier += await self._declare(queue)
        await self._bind_all(topology)
        self._kept |= dict.fromkeys(chain(topology.exchanges, topology.queues, topology.bindings))
        return earlier

    async def _bind_all(self, topology: Topology) -> None:
        # Those that cannot wait come first: after one that is not answered, the server answers none.
        declared: set[str] = {*(one.name for one in topology.exchanges), *(one.name for one in topology.queues)}
        can_wait = {
            one: {one.source, one.destination} <= declared and not self._is_unmade(one) for one in topology.bindings
        }
        for binding in sorted(topology.bindings, key=can_wait.__getitem__):
            try:
                await self._bind(binding)
            except LinkLost as error:
                if not (self._link.up and can_wait[binding]):
                    raise
                log.warning("bindings.postponed", reason=str(error))
                return

    async def unbind(self, binding: Binding) -> None:
        """Remove *binding*, if it exists."""
        self._kept.pop(binding, None)
        self._bound.discard(binding)
        await self._ask(lambda channel: _unbind(channel, binding))

    def forget(self, topology: Topology) -> None:
        """Keep *topology* no longer."""
        parts: set[Part] = {*topology.exchanges, *topology.queues, *topology.bindings}
        self._kept = {part: None for part in self._kept if part not in parts}
        self._to_compare.clear()  # it begins with what is kept now
        for known in (self._present, self._missing, self._wrong, self._refused):
            known.difference_update(parts)

    async def run(self) -> None:
        """Check what is kept, every now and then and when woken."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY):
                    await self._woken.wait()
            self._woken.clear()
            with suppress(LinkLost):
                await self._check()
            await asyncio.sleep(SHORTEST_PAUSE)

    async def _check(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._denied and now >= self._make_again_at:
            self._make_again_at = now + ASK_AGAIN_EVERY
            del self._denied[next(iter(self._denied))]
        for part in sorted(self._kept, key=_rank):
            if part in self._kept:  # still
                await self._quietly(part, self._ensure)
        if now >= self._compare_again_at and (compared := self._next_to_compare()):
            await self._quietly(compared, self._declare)

    def _next_to_compare(self) -> Exchange | Queue | None:
        if not self._to_compare:
            self._to_compare.extend(part for part in self._kept if not isinstance(part, Binding))
        return self._to_compare.popleft() if self._to_compare else None

    async def _quietly(self, part: P, do: Callable[[P], Awaitable[object]]) -> None:
        """Do something for *part*, and say once that this was refused."""
        try:
            await do(part)
        except Refused as error:
            if part not in self._refused:
                log.warning("topology.incomplete", part=part, error=str(error))
            self._refused.add(part)
        else:
            if part in self._refused and part not in self._wrong and part not in self._denied:
                self._refused.remove(part)
                self._make_again_at = float("-inf")  # others may be allowed, too

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
            self._note_created(part)
        self._missing.discard(part)
        self._present.add(part)

    def _note_created(self, part: Exchange | Queue) -> None:
        """Note that *part* is as it should be, and that what leads to it or from it was lost."""
        self._created.add(part.name)
        self._wrong.discard(part)
        self._earlier.pop(part, None)
        self._bound = {one for one in self._bound if part.name not in {one.source, one.destination}}

    def _is_unmade(self, binding: Binding) -> bool:
        """Return whether *binding* does not exist: what it belongs to was created here, and it was not made since."""
        return binding not in self._bound and not self._created.isdisjoint({binding.source, binding.destination})

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

    async def _declare(self, part: Exchange | Queue) -> list[str]:
        """Create *part* if it is missing, else compare it, if the user may.

        Returns:
            Its name if it is one of an earlier version, else nothing.
        """
        await self._ensure(part)
        try:
            await self._compare(part)
        except ChannelAccessRefused:
            self._compare_again_at = asyncio.get_running_loop().time() + ASK_AGAIN_EVERY
        except ChannelPreconditionFailed:
            self._wrong.add(part)
            raise
        self._wrong.discard(part)
        return [part.name] if self._earlier.get(part, part) != part else []

    async def _compare(self, part: Exchange | Queue) -> None:
        """Return if *part* is as this version or an earlier one declared it."""
        known = self._earlier.get(part, part)
        try:
            await self._ask(lambda channel: _declare(channel, known))
        except ChannelPreconditionFailed:
            for other in {part, *_earlier(part)} - {known}:
                with suppress(ChannelPreconditionFailed):
                    await self._ask(partial(_declare, part=other))
                    self._earlier[part] = other
                    return
            raise

    async def _bind(self, binding: Binding) -> None:
        """Make *binding*, unless that was refused lately, and it may exist.

        Raises:
            ChannelAccessRefused: It does not exist, and the user may not make it.
        """
        unmade = self._is_unmade(binding)
        if binding in self._denied and not unmade:
            return
        try:
            await self._ask(lambda channel: _bind(channel, binding))
        except ChannelAccessRefused as error:
            if unmade:
                raise
            if binding not in self._refused:
                log.info("binding.skipped", source=binding.source, destination=binding.destination, reason=str(error))
            self._denied[binding] = None
            self._refused.add(binding)
        else:
            self._bound.add(binding)
            self._denied.pop(binding, None)

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


def _earlier(part: Exchange | Queue) -> tuple[Queue, ...]:
    return part.earlier if isinstance(part, Queue) else ()


def _rank(part: Part) -> int:
    return (Exchange, Queue, Binding).index(type(part))
