"""The pipelined publisher: messages are written once per tick, and their confirms come in any order."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from datetime import timedelta
from typing import Self

import structlog
from aiormq import Connection  # noqa: TID251

from broker.errors import Unavailable, Unconfirmed
from broker.transport import Message
from broker.transport.rabbitmq.confirms import ConfirmChannel, Publication
from broker.transport.rabbitmq.link import Link, LinkLost, close

RENEWAL_PAUSE = 0.1
RETIREMENT = 10.0

log = structlog.get_logger()


class Publisher:
    """Publishes over *link*, with channels per exchange: a queue that blocks its exchange blocks no other exchange."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._publishers: dict[str, ExchangePublisher] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open = False
        for publisher in self._publishers.values():
            await publisher.close()

    async def publish(self, message: Message, *, exchange: str, routing_key: str, timeout: timedelta) -> None:
        """See `broker.transport.Transport.publish`."""
        if not self._open:
            raise Unavailable("the transport is closed")
        if self._link.blocked:
            raise Unavailable("RabbitMQ blocks publishers (a memory or disk alarm)")
        publisher = self._publishers.get(exchange)
        if publisher is None:
            publisher = self._publishers[exchange] = ExchangePublisher(self._link, exchange)
        await publisher.publish(message, routing_key, timeout.total_seconds())


class ExchangePublisher:
    """Publishes to one exchange, on a channel that is replaced when it is spent.

    A channel whose confirms do not come is spent, too: a tap that lost its quorum would otherwise fill the window for
    ever.
    """

    def __init__(self, link: Link, exchange: str) -> None:
        self._link = link
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[Publication, None] = OrderedDict()
        self._channel: ConfirmChannel | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._renewal = asyncio.create_task(self._renew())

    async def publish(self, message: Message, routing_key: str, seconds: float) -> None:
        """Send *message* after those that wait for room in the window, and wait for its confirm."""
        publication = Publication(message, self._exchange, routing_key, self._loop.create_future())
        channel = self._free_channel()
        if channel is None:  # otherwise no message waits, because room goes to the first waiting one at once
            self._waiting[publication] = None
        else:
            channel.send(publication)
        timer = self._loop.call_later(seconds, _expire, publication, seconds)
        try:
            await publication.confirm
        finally:
            timer.cancel()
            self._waiting.pop(publication, None)

    async def close(self) -> None:
        """Fail the messages that wait for room; those in flight fail with the link and its channels."""
        tasks = {self._renewal, *self._retiring}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for publication in self._waiting:
            publication.fail(Unavailable("the transport was closed"))

    def _free_channel(self) -> ConfirmChannel | None:
        channel = self._channel
        return None if channel is None or channel.is_closed or channel.full else channel

    def _send_waiting(self) -> None:
        while self._waiting and (channel := self._free_channel()):
            publication, _ = self._waiting.popitem(last=False)
            if publication.confirm.done():
                continue
            try:
                channel.send(publication)
            except ValueError as error:
                publication.confirm.set_exception(error)

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
                await channel.spent.wait()
            await asyncio.sleep(earliest_renewal - self._loop.time())

    def _make_channel(self, connection: Connection, number: int) -> ConfirmChannel:
        return ConfirmChannel(connection, number, self._send_waiting)


async def _retire(channel: ConfirmChannel) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(RETIREMENT):
            await channel.idle.wait()
    await close(channel)


def _expire(publication: Publication, seconds: float) -> None:
    if publication.channel is None:
        publication.fail(Unavailable(f"no link, or no room in the window, within {seconds:g} s"))
    elif not publication.confirm.done():
        publication.fail(Unconfirmed(f"no confirm within {seconds:g} s"))
        publication.channel.spent.set()
