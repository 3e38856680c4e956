"""Publishing signals: to the record queue, whose confirm alone accepts them, and beside it to the exchange of the taps.

signal --+--default exchange (mandatory)--> signals.record    confirmed: accepted
         |
         +--signals.broadcast or signals.routed--> taps       if there are any; published again until they have it
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog

from broker import metrics, tracing
from broker.errors import Unavailable, Unconfirmed, Unroutable
from broker.messages import signal_message
from broker.signals import Signal
from broker.taps import HEADERS_BYTES, RETRY_PAUSE, Taps
from broker.topology import RECORD
from broker.transport import Message, Transport

RECENT_SECONDS = 60.0
"""Longer than it takes to tell the gateways of a loss, even if PostgreSQL is away for a while."""
RECENT_BYTES = 16 << 20
LEAST_SECONDS = 1.0

log = structlog.get_logger()


class SignalPublisher:
    """Publishes signals. An async context manager; leaving waits a moment for taps, and for what is being restored.

    The confirm of the record queue alone decides whether a signal is accepted. A publish that fails is repeated within
    its time, on another channel or link; the recorder and taps drop repeats by the signal's id.

    A queue that is deleted takes along what it has confirmed. So what was accepted lately is kept, and is published
    again once the record queue was found missing, before anything more is accepted.

    Args:
        transport: Where the queues are.
        timeout: How long publishing a signal may take.
    """

    def __init__(self, transport: Transport, *, timeout: timedelta) -> None:
        self._transport = transport
        self._timeout = timeout
        self._seconds = timeout.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._taps = Taps(transport, timeout=timeout)
        self._recent = Recent()
        self._losses = 0
        """How often the record queue was found missing."""
        self._restoring: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._transport.on_missing(RECORD, self.restore)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._taps.close()
        if self._restoring is not None:  # what is not restored now goes with this process
            await asyncio.wait([self._restoring], timeout=self._seconds)
        if self._restoring is not None:
            log.error("signals.unrestored", hint="the ledger names those that are lost")
            self._restoring.cancel()
            await asyncio.wait([self._restoring])

    async def publish(self, signal: Signal, *, spent: float = 0.0) -> None:
        """Publish *signal* to taps and to the record queue; return once the record queue has confirmed it.

        The copy for taps is written first. What becomes of it is seen to afterwards. *spent* are the seconds that the
        throw has taken already; a second is always left.

        Raises:
            TransportError: The record queue did not confirm it in time. Taps may have got it.
        """
        if (tracer := tracing.tracer()) is None:
            await self._publish(signal, spent)
        else:
            with tracer.publishing(RECORD, signal.id, signal.throw.trace) as span:
                await self._publish(_caused_by(span, signal), spent)

    async def publish_to_record(self, signal: Signal, *, spent: float = 0.0) -> None:
        """Publish *signal* to the record queue alone, so that no tap gets it. See `publish`.

        Raises:
            TransportError: The record queue did not confirm it in time.
        """
        if (tracer := tracing.tracer()) is None:
            await self._record(signal_message(signal), spent)
        else:
            with tracer.publishing(RECORD, signal.id, signal.throw.trace) as span:
                await self._record(signal_message(_caused_by(span, signal)), spent)

    async def _publish(self, signal: Signal, spent: float) -> None:
        message = signal_message(signal)
        copy = self._taps.send(message, signal)
        try:
            await self._record(message, spent)
        except BaseException:
            self._taps.forget(copy)
            raise

    def restore(self) -> None:
        """Publish again what the record queue may have lost, and accept nothing before it is safe."""
        self._losses += 1
        messages = self._recent.all(self._loop.time())
        if self._restoring is None and messages:
            log.warning("signals.restoring", signals=len(messages))
            self._restoring = asyncio.create_task(self._publish_again(messages), name="publishing:restore")

    async def _record(self, message: Message, spent: float) -> None:
        """Publish *message* until the record queue has confirmed it, and was not found missing meanwhile."""
        seconds = max(self._seconds - spent, LEAST_SECONDS)
        end = self._loop.time() + seconds
        timeout = timedelta(seconds=seconds)
        while True:
            losses = self._losses
            sent = self._loop.time()
            try:
                await self._send(message, timeout)
            except (Unconfirmed, Unroutable):
                if self._loop.time() + RETRY_PAUSE > end:
                    raise
                await asyncio.sleep(RETRY_PAUSE)
                timeout = timedelta(seconds=end - self._loop.time())
                metrics.REPEATS.labels(metrics.Repeat.PUBLISHED).inc()
                continue
            metrics.CONFIRM_SECONDS.observe(self._loop.time() - sent)
            if self._restoring is not None:
                await self._restored(end)
            if losses == self._losses:
                self._recent.add(message, self._loop.time())
                return

    def _send(self, message: Message, timeout: timedelta) -> asyncio.Future[None]:
        return self._transport.publish(message, exchange="", routing_key=RECORD, timeout=timeout, repeatable=True)

    async def _restored(self, end: float) -> None:
        assert self._restoring is not None  # noqa: S101  (the caller has looked)
        await asyncio.wait([self._restoring], timeout=end - self._loop.time())
        if self._restoring is not None:
            raise Unavailable(f"the queue {RECORD} was missing, and signals that it held are published again first")

    async def _publish_again(self, messages: Sequence[Message]) -> None:
        """Publish *messages*, which do not age meanwhile, until the record queue has all of them at once."""
        while True:
            losses = self._losses
            confirms = (self._send(message, self._timeout) for message in messages)
            failures = [failure for failure in await asyncio.gather(*confirms, return_exceptions=True) if failure]
            if losses == self._losses and not failures:
                break
            await asyncio.sleep(RETRY_PAUSE)
        self._restoring = None
        metrics.REPEATS.labels(metrics.Repeat.PUBLISHED).inc(len(messages))
        log.warning("signals.restored", signals=len(messages))


def _caused_by(span: tracing.Span, signal: Signal) -> Signal:
    """Return *signal* as it is published: what it causes belongs to the *span* of publishing it."""
    return replace(signal, throw=replace(signal.throw, trace=span.context))


class Recent:
    """What was accepted in the last `RECENT_SECONDS`, at most `RECENT_BYTES` of it."""

    def __init__(self) -> None:
        self._messages: deque[tuple[float, int, Message]] = deque()
        self._bytes = 0

    def add(self, message: Message, now: float) -> None:
        """Keep *message*, which was accepted at *now*."""
        size = len(message.body) + HEADERS_BYTES
        self._messages.append((now, size, message))
        self._bytes += size
        self._forget(now)

    def all(self, now: float) -> list[Message]:
        """Return what was accepted lately, in that order."""
        self._forget(now)
        return [message for _, _, message in self._messages]

    def _forget(self, now: float) -> None:
        while self._messages and (self._bytes > RECENT_BYTES or self._messages[0][0] < now - RECENT_SECONDS):
            self._bytes -= self._messages.popleft()[1]
