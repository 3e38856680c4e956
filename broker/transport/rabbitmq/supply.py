"""The channels of one link that publish to one exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from aiormq import Connection  # noqa: TID251

from broker.transport.rabbitmq.confirms import ConfirmChannel
from broker.transport.rabbitmq.link import Link, LinkLost, close

RENEWAL_PAUSE = 0.1
RETIREMENT = 10.0
STALLED = 2.0
SLOWEST = 2 << 20
"""Bytes a second that a slow network carries at least: what has not arrived cannot be confirmed."""
LOOK_EVERY = 0.5

log = structlog.get_logger()


class Supply:
    """Supplies one link's channel for an exchange, and another one when that is spent.

    A channel whose confirms do not come stays open beside its successor, until either confirms. When the leader of a
    quorum queue hangs, RabbitMQ 3 tells those channels that have published to the queue which node leads it next; one
    that is opened meanwhile asks the node that hangs, until the cluster gives that up (``net_ticktime``). If the queue
    was made anew, it is the other way round.

    Args:
        link: Where the channels are.
        exchange: What is published to, for logs.
        on_unroutable: Called with the exchange and routing key of a message that reached no queue.
        on_change: Called when there is another channel, or one less.
        on_confirm: Called after each confirm.
    """

    def __init__(
        self,
        link: Link,
        exchange: str,
        on_unroutable: Callable[[str, str], None],
        on_change: Callable[[], None],
        on_confirm: Callable[[], None],
    ) -> None:
        self.link = link
        self.channel: ConfirmChannel | None = None
        self.confirmed_at = self.stalled_at = float("-inf")
        self._exchange = exchange
        self._on_unroutable = on_unroutable
        self._on_change = on_change
        self._on_confirm = on_confirm
        self._loop = asyncio.get_running_loop()
        self._silent: ConfirmChannel | None = None
        """The predecessor of `channel`, whose confirms may still come."""
        self._retiring: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._run())

    @property
    def works(self) -> bool:
        """Whether there is a channel, and confirms have come since the last one stalled."""
        return self.is_open and self.confirmed_at >= self.stalled_at

    @property
    def is_open(self) -> bool:
        """Whether there is a channel."""
        return self.channel is not None and not self.channel.is_closed

    @property
    def waits(self) -> bool:
        """Whether the server owes a confirm."""
        return self.channel is not None and not self.channel.idle.is_set()

    @property
    def bytes(self) -> int:
        """The bytes of the messages whose confirms the server owes."""
        return 0 if self.channel is None else self.channel.bytes

    async def close(self) -> None:
        """Supply no more channels; those that are open close with their link."""
        tasks = {self._task, *self._retiring}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _run(self) -> None:
        while True:
            earliest_renewal = self._loop.time() + RENEWAL_PAUSE
            try:
                channel = await self.link.open(self._make_channel)
            except LinkLost as error:
                log.warning("channel.refused", exchange=self._exchange, error=str(error))
            else:
                self._take(channel)
                self._on_change()
                await self._spent()
                self._on_change()
            await asyncio.sleep(earliest_renewal - self._loop.time())

    def _make_channel(self, connection: Connection, number: int) -> ConfirmChannel:
        return ConfirmChannel(connection, number, self._confirmed, self._on_unroutable)

    def _take(self, channel: ConfirmChannel) -> None:
        """Go on with *channel*, unless the last one has come back meanwhile. It was used until now, if it was open."""
        last = self.channel
        if last is not None and not last.spent.is_set():
            self._retire(channel)
            return
        self.channel = channel
        if last is None or last.is_closed:
            return
        if last.given_up and (self._silent is None or self._silent.is_closed):
            self._silent = last
        else:
            self._retire(last)

    async def _spent(self) -> None:
        """Return once the channel is spent, which it is without confirms."""
        while (channel := self.channel) is not None and not channel.spent.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await channel.spent.wait()
            now = self._loop.time()
            patience = STALLED + channel.bytes / SLOWEST
            stalls = not channel.idle.is_set() and now > channel.progressed_at + patience and not self.link.blocked
            if stalls and channel is self.channel:
                self.stalled_at = now
                channel.give_up(f"no confirm for {patience:.2g} s")

    def _confirmed(self, channel: ConfirmChannel) -> None:
        self.confirmed_at = self._loop.time()
        if channel.given_up:
            self._come_back(channel)
        elif self._silent is not None and channel is self.channel:
            self._retire(self._silent)
            self._silent = None
        self._on_confirm()

    def _come_back(self, channel: ConfirmChannel) -> None:
        """Go on with *channel* after all, if it was given up for its silence."""
        if channel is self._silent:
            self._silent = None
            successor, self.channel = self.channel, channel
            if successor is not None and not successor.is_closed:
                successor.give_up("another channel's confirms came first")
                self._retire(successor)
        if channel is self.channel:
            channel.resume()

    def _retire(self, channel: ConfirmChannel) -> None:
        self._retiring.add(task := asyncio.create_task(_retire(channel)))
        task.add_done_callback(self._retiring.discard)


async def _retire(channel: ConfirmChannel) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(RETIREMENT):
            await channel.idle.wait()
    await close(channel)
