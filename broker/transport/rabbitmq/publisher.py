"""The pipelined publisher: messages are written once per tick, and their confirms come in any order."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import structlog
from aiormq import Connection  # noqa: TID251

from broker.errors import Unavailable, Unconfirmed
from broker.transport.rabbitmq.confirms import ConfirmChannel, Publication
from broker.transport.rabbitmq.link import Link, LinkLost, close

RENEWAL_PAUSE = 0.1
RETIREMENT = 10.0
PATIENCE = 0.75
SLOWEST = 2 << 20
"""Bytes a second that a slow network carries at least: what has not arrived cannot be confirmed."""
STALLED = 2.0
LOOK_EVERY = 0.5
_REHEARSALS = " rehearsals"
"""No exchange has this name: RabbitMQ's own begin with ``amq.``, and this product's have no spaces."""

log = structlog.get_logger()


class Publisher:
    """Publishes over a link, with channels per exchange: a queue that blocks its exchange blocks no other exchange.

    Args:
        link: Where to publish.
        on_unroutable: Called with the exchange and routing key of a message that reached no queue.
    """

    def __init__(self, link: Link, on_unroutable: Callable[[str, str], None]) -> None:
        self._link = link
        self._on_unroutable = on_unroutable
        self._publishers: dict[str, ExchangePublisher] = {}
        """By exchange, and one for rehearsals."""
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open = False
        for publisher in self._publishers.values():
            await publisher.close()

    @property
    def patience(self) -> float | None:
        """For how many seconds the server may be silent now; None: for any time, because it owes no confirm."""
        unconfirmed = [publisher.bytes for publisher in self._publishers.values() if publisher.waits]
        return PATIENCE + sum(unconfirmed) / SLOWEST if unconfirmed else None

    @property
    def stalled(self) -> bool:
        """Whether queues that are published to by their names confirm nothing."""
        publisher = self._publishers.get("")
        return publisher is not None and publisher.stalled

    def publish(self, publication: Publication, seconds: float) -> None:
        """Send *publication*, which ends within *seconds*."""
        self._publish(publication, seconds, lane=publication.exchange)

    def rehearse(self, publication: Publication, seconds: float) -> None:
        """Send *publication* on a channel of its own: its confirm says nothing about other messages."""
        self._publish(publication, seconds, lane=_REHEARSALS)

    def _publish(self, publication: Publication, seconds: float, *, lane: str) -> None:
        if not self._open:
            publication.end(Unavailable("the transport is closed"))
        elif self._link.blocked:
            publication.end(Unavailable("RabbitMQ blocks publishers (a memory or disk alarm)"))
        else:
            publisher = self._publishers.get(lane)
            if publisher is None:
                publisher = ExchangePublisher(self._link, publication.exchange, self._on_unroutable)
                self._publishers[lane] = publisher
            publisher.publish(publication, seconds)


class ExchangePublisher:
    """Publishes to one exchange, on a channel that is replaced when it is spent.

    A channel whose confirms do not come is spent, too: a tap that lost its quorum would otherwise fill the window for
    ever.
    """

    def __init__(self, link: Link, exchange: str, on_unroutable: Callable[[str, str], None]) -> None:
        self._link = link
        self._exchange = exchange
        self._on_unroutable = on_unroutable
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[Publication, None] = OrderedDict()
        self._channel: ConfirmChannel | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._confirmed_at = self._gave_up_at = float("-inf")
        self._renewal = asyncio.create_task(self._renew())

    @property
    def waits(self) -> bool:
        """Whether the server owes a confirm."""
        return self._channel is not None and not self._channel.idle.is_set()

    @property
    def bytes(self) -> int:
        """The bytes of the messages whose confirms the server owes."""
        return 0 if self._channel is None else self._channel.bytes

    @property
    def stalled(self) -> bool:
        """Whether a channel was given up lately, and nothing has been confirmed since."""
        return self._confirmed_at < self._gave_up_at and self._loop.time() < self._gave_up_at + RETIREMENT

    def publish(self, publication: Publication, seconds: float) -> None:
        """Send *publication* after those that wait for room in the window."""
        publication.timer = self._loop.call_later(seconds, self._expire, publication, seconds)
        channel = self._free_channel()
        if channel is None:  # otherwise no message waits, because room goes to the first waiting one at once
            self._waiting[publication] = None
        else:
            _send(channel, publication)

    async def close(self) -> None:
        """Fail the messages that wait for room; those in flight fail with the link and its channels."""
        tasks = {self._renewal, *self._retiring}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for publication in self._waiting:
            publication.end(Unavailable("the transport was closed"))

    def _free_channel(self) -> ConfirmChannel | None:
        channel = self._channel
        return None if channel is None or channel.full else channel

    def _send_waiting(self) -> None:
        while self._waiting and (channel := self._free_channel()):
            publication, _ = self._waiting.popitem(last=False)
            if not publication.confirm.done():
                _send(channel, publication)

    def _expire(self, publication: Publication, seconds: float) -> None:
        if publication.channel is None:
            self._waiting.pop(publication, None)
            reason = "no room in the window" if self._link.up else self._link.trouble
            publication.end(Unavailable(f"not sent within {seconds:g} s: {reason}"))
        elif not publication.confirm.done():
            publication.end(Unconfirmed(f"no confirm within {seconds:g} s"))
            publication.channel.spent.set()

    async def _renew(self) -> None:
        while True:
            earliest_renewal = self._loop.time() + RENEWAL_PAUSE
            try:
                channel = await self._link.open(self._make_channel)
            except LinkLost as error:
                log.warning("channel.refused", exchange=self._exchange, error=str(error))
            else:
                # Until now the previous channel was used, if it is open.
                if self._channel is not None:
                    self._retiring.add(task := asyncio.create_task(_retire(self._channel)))
                    task.add_done_callback(self._retiring.discard)
                self._channel = channel
                self._send_waiting()
                await self._spent(channel)
            await asyncio.sleep(earliest_renewal - self._loop.time())

    async def _spent(self, channel: ConfirmChannel) -> None:
        """Return once *channel* is spent, which it is without confirms: its queue may have been made anew."""
        while not channel.spent.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await channel.spent.wait()
            now = self._loop.time()
            if not channel.idle.is_set() and now > channel.progressed_at + STALLED and not self._link.blocked:
                self._gave_up_at = now
                channel.give_up(f"no confirm for {STALLED:g} s")

    def _confirmed(self) -> None:
        self._confirmed_at = self._loop.time()
        self._send_waiting()

    def _make_channel(self, connection: Connection, number: int) -> ConfirmChannel:
        return ConfirmChannel(connection, number, self._confirmed, self._on_unroutable)


async def _retire(channel: ConfirmChannel) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(RETIREMENT):
            await channel.idle.wait()
    await close(channel)


def _send(channel: ConfirmChannel, publication: Publication) -> None:
    try:
        channel.send(publication)
    except ValueError as error:  # a name is too long for AMQP
        publication.end(error)
