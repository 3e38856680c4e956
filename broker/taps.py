"""Publishing to taps, the queues that microservices bind: they get what is accepted, and hold up no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from broker import metrics
from broker.errors import Nacked, Unconfirmed, Unroutable
from broker.messages import signal_message
from broker.quiet_routes import QuietRoutes
from broker.signals import Signal
from broker.topology import BROADCAST, ROUTED
from broker.transport import Message, Transport

RETRY_PAUSE = 0.2
"""Seconds in which the transport replaces a channel that a nack has spent. Each further pause is twice as long."""
LONGEST_PAUSE = 8.0
"""Seconds. With the timeout of a publish, nodes that are back are tried often enough before `PATIENCE` is over."""
PATIENCE = 120.0
"""Seconds for which a copy is published again: by default RabbitMQ takes 75 to give up a node that hangs."""
MOST_BYTES = 16 << 20
"""What may wait for taps at a time; they miss what exceeds it."""
HEADERS_BYTES = 2048
"""What a message in memory takes besides its body."""
MOST_PROBED = 16 << 10
"""Bytes of a message that may be published as mandatory: if no tap is bound, all of it comes back."""
REJECTING = 10.0
"""Seconds for which an exchange counts as rejecting; a nack is final then, because a retry repeats it to other taps.

A copy that was given up counts for as long."""
DRAIN = 2.0
"""Seconds for which a process that ends waits for taps."""

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Copy:
    """A signal on its way to taps, which is not published again after *end*.

    *ended* is done as soon as a caller need not wait any longer: taps have the copy, one rejected it, or none is bound.
    """

    signal: Signal
    message: Message
    exchange: str
    routing_key: str
    end: float
    failures: int = 0
    mandatory: bool = False
    nacked: bool = False
    ended: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """The bytes of memory that it takes."""
        return len(self.message.body) + HEADERS_BYTES

    @property
    def route(self) -> tuple[str, str, Sequence[str] | None]:
        """What decides which taps get it."""
        return self.exchange, self.routing_key, self.signal.throw.audience


class Taps:
    """Publishes signals to the exchanges of the taps, if there are any.

    A fan-out is confirmed only once every bound queue has taken it. It is published again, ever more rarely, after a
    lost link, a timeout (a node that hangs) or a nack (an election of a leader). A second nack means that a tap rejects
    the signal, which is only counted. Once a copy was given up, others are published twice at most, because each time
    repeats them to the healthy taps.

    Args:
        transport: Where the exchanges are.
        timeout: How long publishing a signal may take.
    """

    def __init__(self, transport: Transport, *, timeout: timedelta) -> None:
        self._transport = transport
        self._timeout = timeout
        self._seconds = timeout.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._copies: set[Copy] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._quiet_routes = QuietRoutes(self._publish_by_route, self._end)
        self._bytes = 0
        self._rejected_at = dict.fromkeys((BROADCAST, ROUTED), float("-inf"))
        self._given_up_at = dict.fromkeys((BROADCAST, ROUTED), float("-inf"))

    async def publish(self, signal: Signal) -> None:
        """Publish *signal*, which was recorded before; return once the taps have it, or one rejects it.

        If no tap is bound, return at once, and see in the background whether one is bound now.

        Raises:
            TransportError: It could not be sent in time.
        """
        copy = self._add(signal_message(signal), signal, self._seconds)
        if copy in self._copies and self._offer(copy):
            copy.ended = self._loop.create_future()
            await copy.ended

    def send(self, message: Message, signal: Signal) -> Copy:
        """Send *message*, which carries *signal*, and see to it in the background that taps get it."""
        copy = self._add(message, signal, PATIENCE)
        if copy in self._copies:
            self._offer(copy)
        return copy

    @property
    def waiting(self) -> int:
        """How many signals the taps have not taken yet."""
        return len(self._copies)

    def forget(self, copy: Copy) -> None:
        """Do not publish *copy* again: its signal was not accepted."""
        self._end(copy)

    async def close(self) -> None:
        """Give taps a moment for what they have not taken yet."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                await self._idle.wait()
        for copy in [*self._copies]:
            self._miss(copy, "the process ends")

    def _add(self, message: Message, signal: Signal, seconds: float) -> Copy:
        throw = signal.throw
        exchange = BROADCAST if throw.is_fanout else ROUTED
        copy = Copy(signal, message, exchange, throw.routing_key, self._loop.time() + seconds)
        if self._bytes >= MOST_BYTES:
            _count_rejection(copy, f"{self.waiting} signals wait for taps already")
        else:
            self._copies.add(copy)
            self._idle.clear()
            self._bytes += copy.size
        return copy

    def _offer(self, copy: Copy) -> bool:
        """Publish *copy*, unless no tap is bound to its route; return whether it was published."""
        if len(copy.message.body) <= MOST_PROBED:
            return self._quiet_routes.send(copy.route, copy)
        self._publish(copy)
        return True

    def _publish(self, copy: Copy) -> None:
        confirm = self._transport.publish(
            copy.message,
            exchange=copy.exchange,
            routing_key=copy.routing_key,
            timeout=self._timeout,
            mandatory=copy.mandatory,
        )
        confirm.add_done_callback(partial(self._take_confirm, copy))

    def _publish_by_route(self, copy: Copy, *, mandatory: bool) -> None:
        copy.mandatory = mandatory
        self._publish(copy)

    def _take_confirm(self, copy: Copy, confirm: asyncio.Future[None]) -> None:
        error = asyncio.CancelledError() if confirm.cancelled() else confirm.exception()
        mandatory, copy.mandatory = copy.mandatory, False
        if mandatory and isinstance(error, Unroutable):
            _resolve(copy)
            self._quiet_routes.take_unroutable(copy.route, copy)
            return
        if mandatory:
            self._quiet_routes.take_routed(copy.route, copy)
        if error is None:
            self._end(copy)
        elif copy in self._copies:
            self._take_failure(copy, error)

    def _take_failure(self, copy: Copy, error: BaseException) -> None:
        """Publish *copy* again after a pause, unless a tap rejects it, or its time is over."""
        now = self._loop.time()
        pause = min(RETRY_PAUSE * 2**copy.failures, LONGEST_PAUSE)
        copy.failures += 1
        if isinstance(error, Nacked):
            if copy.nacked or self._is_rejecting(copy):
                self._rejected_at[copy.exchange] = now
                self._miss(copy, str(error))
            else:
                copy.nacked = True
                self._loop.call_later(pause, self._publish_again, copy)
        elif now + pause < copy.end and (copy.failures == 1 or not self._is_giving_up(copy)):
            self._loop.call_later(pause, self._publish_again, copy)
        elif copy.ended is None or copy.ended.done() or isinstance(error, Unconfirmed):
            self._given_up_at[copy.exchange] = now
            self._miss(copy, str(error))
        else:
            copy.ended.set_exception(error)
            self._end(copy)

    def _publish_again(self, copy: Copy) -> None:
        if copy in self._copies:
            if copy.nacked and self._is_rejecting(copy):
                self._miss(copy, "a queue refused this signal, and others again")
            else:
                metrics.REPEATS.labels(metrics.Repeat.PUBLISHED).inc()
                self._offer(copy)

    def _is_rejecting(self, copy: Copy) -> bool:
        return self._loop.time() < self._rejected_at[copy.exchange] + REJECTING

    def _is_giving_up(self, copy: Copy) -> bool:
        return self._loop.time() < self._given_up_at[copy.exchange] + REJECTING

    def _miss(self, copy: Copy, error: str) -> None:
        _count_rejection(copy, error)
        self._end(copy)

    def _end(self, copy: Copy) -> None:
        if copy not in self._copies:
            return
        self._copies.remove(copy)
        self._bytes -= copy.size
        if not self._copies:
            self._idle.set()
        _resolve(copy)


def _resolve(copy: Copy) -> None:
    if copy.ended is not None and not copy.ended.done():
        copy.ended.set_result(None)


def _count_rejection(copy: Copy, error: str) -> None:
    metrics.TAP_REJECTIONS.labels(copy.exchange).inc()
    log.warning("tap.rejected", signal_id=copy.signal.id, exchange=copy.exchange, error=error)
