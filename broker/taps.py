"""Publishing to taps, the queues that microservices bind: they get what is accepted, and never hold up an answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from broker import metrics
from broker.errors import Nacked, TransportError, Unconfirmed, Unroutable
from broker.messages import signal_message
from broker.signals import Signal
from broker.topology import BROADCAST, ROUTED
from broker.transport import Message, Transport

RETRY_PAUSE = 0.2
"""Seconds in which the transport replaces a channel that a nack has spent."""
GRACE = 1.0
"""Seconds for which an answer waits for taps."""
MOST_STRAGGLERS = 5000
"""Signals that taps may still have to take after the answer; for further ones nobody waits."""
REJECTING = 10.0
"""Seconds for which an exchange counts as rejecting; a nack is final then, because a retry repeats it to other taps."""

log = structlog.get_logger()


class Taps:
    """Publishes signals to the exchanges of the taps.

    A fan-out is confirmed only once every bound queue has taken it. It is published again after a lost link, a timeout
    or a nack (an election of a leader); a second nack means that a tap rejects the signal, which is only counted.

    Args:
        transport: Where the exchanges are.
        timeout: How long publishing a signal may take.
    """

    def __init__(self, transport: Transport, *, timeout: timedelta) -> None:
        self._transport = transport
        self._timeout = timeout
        self._stragglers: set[asyncio.Task[None]] = set()
        self._rejected_at: dict[str, float] = {}

    async def publish(self, signal: Signal) -> None:
        """Publish *signal*, which was recorded before; return once the taps have it, or one rejects it.

        Raises:
            TransportError: It could not be sent in time.
        """
        message = signal_message(signal)
        await self._confirmed(message, signal, self.send(message, signal))

    def send(self, message: Message, signal: Signal) -> asyncio.Future[None]:
        """Send *message*, which carries *signal*; return its confirm, to be given to `wait` or `forget`."""
        return self._transport.publish(
            message,
            exchange=_exchange(signal),
            routing_key=signal.throw.routing_key,
            timeout=self._timeout,
            mandatory=False,
        )

    async def wait(self, message: Message, signal: Signal, confirm: asyncio.Future[None]) -> None:
        """Wait for *confirm* and, for a moment, for retries; they go on in the background."""
        if confirm.done() and not confirm.cancelled() and confirm.exception() is None:
            return
        if len(self._stragglers) >= MOST_STRAGGLERS:
            self.forget(confirm)
            _count_rejection(signal, f"{MOST_STRAGGLERS} signals wait for taps already")
            return
        straggler = asyncio.create_task(self._follow(message, signal, confirm))
        self._stragglers.add(straggler)
        straggler.add_done_callback(self._stragglers.discard)
        await asyncio.wait([straggler], timeout=GRACE)

    async def _confirmed(self, message: Message, signal: Signal, confirm: asyncio.Future[None]) -> None:
        """Publish *message* until it is confirmed, or rejected by a tap."""
        end = _now() + self._timeout.total_seconds()
        nacked = False
        while True:
            try:
                return await confirm
            except Nacked as error:
                if nacked or self._is_rejecting(signal):
                    self._rejected_at[_exchange(signal)] = _now()
                    return _count_rejection(signal, str(error))
                nacked = True
            except Unconfirmed as error:
                if _now() + RETRY_PAUSE > end:
                    return _count_rejection(signal, str(error))
            except Unroutable:
                if _now() + RETRY_PAUSE > end:
                    raise
            await asyncio.sleep(RETRY_PAUSE)
            confirm = self.send(message, signal)

    def forget(self, confirm: asyncio.Future[None]) -> None:
        """Wait for *confirm* no longer."""
        confirm.add_done_callback(_take_note)

    async def close(self) -> None:
        """Give up what taps have not taken yet."""
        for straggler in self._stragglers:
            straggler.cancel()
        await asyncio.gather(*self._stragglers, return_exceptions=True)

    async def _follow(self, message: Message, signal: Signal, confirm: asyncio.Future[None]) -> None:
        try:
            await self._confirmed(message, signal, confirm)
        except TransportError as error:
            _count_rejection(signal, str(error))

    def _is_rejecting(self, signal: Signal) -> bool:
        return _now() < self._rejected_at.get(_exchange(signal), float("-inf")) + REJECTING


def _exchange(signal: Signal) -> str:
    return BROADCAST if signal.throw.is_fanout else ROUTED


def _count_rejection(signal: Signal, error: str) -> None:
    exchange = _exchange(signal)
    metrics.TAP_REJECTIONS.labels(exchange).inc()
    log.warning("tap.rejected", signal_id=signal.id, exchange=exchange, error=error)


def _take_note(confirm: asyncio.Future[None]) -> None:
    """Retrieve the exception that nobody waits for, or asyncio logs it."""
    if not confirm.cancelled():
        confirm.exception()


def _now() -> float:
    return asyncio.get_running_loop().time()
