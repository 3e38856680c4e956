"""The pipelined publisher: messages are written once per tick, and their confirms come in any order."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Self

from broker.errors import Unavailable, Unconfirmed
from broker.transport.rabbitmq.confirms import ConfirmChannel, Publication
from broker.transport.rabbitmq.link import IDLE_PATIENCE, Link
from broker.transport.rabbitmq.supply import RETIREMENT, SLOWEST, Supply

PATIENCE = 0.75
INTRODUCE_EVERY = 30.0
_REHEARSALS = " rehearsals"
"""No exchange has this name: RabbitMQ's own begin with ``amq.``, and this product's have no spaces."""


class Publisher:
    """Publishes over links, with channels per lane: an exchange, or a shard, that is blocked blocks no other.

    Args:
        links: Where to publish: on the first that works.
        on_unroutable: Called with the exchange and routing key of a message that reached no queue.
    """

    def __init__(self, links: Sequence[Link], on_unroutable: Callable[[str, str], None]) -> None:
        self._links = links
        self._on_unroutable = on_unroutable
        self._publishers: dict[str, ExchangePublisher] = {}
        """By lane, and one for rehearsals."""
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._open = False
        for publisher in self._publishers.values():
            await publisher.close()

    @property
    def blocked(self) -> bool:
        """Whether the server takes no messages now: a memory or disk alarm, which counts for all nodes of a cluster."""
        return any(link.blocked for link in self._links)

    def patience(self, link: Link) -> float:
        """For how many seconds *link* may be silent now."""
        supplies = (supply for publisher in self._publishers.values() for supply in publisher.supplies)
        unconfirmed = [supply.bytes for supply in supplies if supply.link is link and supply.waits]
        return PATIENCE + sum(unconfirmed) / SLOWEST if unconfirmed else IDLE_PATIENCE

    @property
    def stalled(self) -> bool:
        """Whether queues that are published to by their names confirm nothing."""
        lanes = self._publishers.items()
        return any(publisher.stalled for lane, publisher in lanes if not publisher.exchange and lane != _REHEARSALS)

    def publish(self, publication: Publication, seconds: float, *, lane: str) -> None:
        """Send *publication*, which ends within *seconds*, on the channels of that *lane*."""
        self._publish(publication, seconds, lane=lane)

    def rehearse(self, publication: Publication, seconds: float) -> None:
        """Send *publication* on a channel of its own: its confirm says nothing about other messages."""
        self._publish(publication, seconds, lane=_REHEARSALS)

    def _publish(self, publication: Publication, seconds: float, *, lane: str) -> None:
        if not self._open:
            publication.end(Unavailable("the transport is closed"))
        elif self.blocked:
            publication.end(Unavailable("RabbitMQ blocks publishers (a memory or disk alarm)"))
        else:
            publisher = self._publishers.get(lane)
            if publisher is None:
                publisher = ExchangePublisher(self._links, publication.exchange, self._on_unroutable)
                self._publishers[lane] = publisher
            publisher.publish(publication, seconds)


class ExchangePublisher:
    """Publishes to an exchange or a shard, on the channel of one link: of another one when its confirms do not come.

    Standing by is not enough on RabbitMQ 3 (see `Supply`): a channel has to have published to a queue before the leader
    of that queue hangs. So now and then a message whose repeat does no harm is published on the other links, too.
    """

    def __init__(self, links: Sequence[Link], exchange: str, on_unroutable: Callable[[str, str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[Publication, None] = OrderedDict()
        self._introduced_at = float("-inf")
        self.exchange = exchange
        """What is published to."""
        self.supplies = [Supply(link, exchange, on_unroutable, self._changed, self._choose) for link in links]
        self._supply = self.supplies[0]
        """The one in use."""

    @property
    def stalled(self) -> bool:
        """Whether a channel was given up lately, and nothing has been confirmed since."""
        stalled_at = max(supply.stalled_at for supply in self.supplies)
        confirmed_at = max(supply.confirmed_at for supply in self.supplies)
        return confirmed_at < stalled_at and self._loop.time() < stalled_at + RETIREMENT

    def publish(self, publication: Publication, seconds: float) -> None:
        """Send *publication* after those that wait for room in the window."""
        now = self._loop.time()
        publication.timer = self._loop.call_at(now + seconds, self._expire, publication, seconds)
        if publication.repeatable and now > self._introduced_at + INTRODUCE_EVERY:
            self._introduced_at = now
            publication.confirm.add_done_callback(lambda confirm: self._introduce(publication, confirm))
        channel = self._free_channel()
        if channel is None:  # otherwise no message waits, because room goes to the first waiting one at once
            self._waiting[publication] = None
        else:
            _send(channel, publication)

    async def close(self) -> None:
        """Fail the messages that wait for room; those in flight fail with the links and their channels."""
        for supply in self.supplies:
            await supply.close()
        for publication in self._waiting:
            publication.end(Unavailable("the transport was closed"))

    def _changed(self) -> None:
        """Take note that there is another channel, or one less."""
        self._introduced_at = float("-inf")
        self._choose()

    def _choose(self) -> None:
        """Go on with another supply if the one in use has no channel, or a stalled one; send what waits."""
        if not self._supply.works:
            self._supply = max(self.supplies, key=lambda it: (it.is_open, it.works, -it.stalled_at))
        while self._waiting and (channel := self._free_channel()):
            publication, _ = self._waiting.popitem(last=False)
            if not publication.confirm.done():
                _send(channel, publication)

    def _free_channel(self) -> ConfirmChannel | None:
        channel = self._supply.channel
        return None if channel is None or channel.full else channel

    def _introduce(self, publication: Publication, confirm: asyncio.Future[None]) -> None:
        """Publish what was just confirmed on the channels of the other links."""
        if confirm.cancelled() or confirm.exception() is not None:
            self._introduced_at = float("-inf")
            return
        for supply in self.supplies:
            channel = supply.channel
            if channel is not None and not channel.full and channel is not publication.channel:
                copy = Publication(
                    publication.message,
                    publication.exchange,
                    publication.routing_key,
                    mandatory=False,
                    confirm=self._loop.create_future(),
                )
                copy.confirm.add_done_callback(lambda future: future.cancelled() or future.exception())
                _send(channel, copy)

    def _expire(self, publication: Publication, seconds: float) -> None:
        if publication.channel is None:
            self._waiting.pop(publication, None)
            link = self._supply.link
            reason = "no room in the window" if link.up else link.trouble
            publication.end(Unavailable(f"not sent within {seconds:g} s: {reason}"))
        elif not publication.confirm.done():
            publication.end(Unconfirmed(f"no confirm within {seconds:g} s"))
            publication.channel.spent.set()


def _send(channel: ConfirmChannel, publication: Publication) -> None:
    try:
        channel.send(publication)
    except ValueError as error:  # a name is too long for AMQP
        publication.end(error)
