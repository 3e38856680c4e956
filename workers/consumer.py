"""The one loop that consumes a queue: it turns what a handler returns or raises into settlements."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import structlog

from broker import metrics
from broker.errors import StoreUnavailable, TransportError
from broker.store.postgres.database import DataError
from broker.transport import Inbox, Received, Settlement, Transport

Handler = Callable[[Sequence[Received]], Awaitable[Sequence[Settlement]]]

_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

log = structlog.get_logger()


class Consumer:
    """Consumes *queue* and settles each message as *handle* says.

    While the store or the transport is unavailable a batch is kept, unsettled, and tried again after a pause: nothing
    is requeued as a back-off. A batch whose handling fails otherwise is taken apart, so that only the message that is
    the cause counts towards its delivery limit.

    Args:
        transport: Where the queue is.
        queue: Its name.
        handle: Given up to *batch* messages, returns a settlement for each.
        batch: Most messages of one call of *handle*.
        batch_bytes: Most bytes of their bodies; a larger message is handled alone.
        concurrency: Most calls of *handle* at a time.
    """

    def __init__(
        self,
        transport: Transport,
        queue: str,
        handle: Handler,
        *,
        batch: int = 1,
        batch_bytes: int = 8 << 20,
        concurrency: int = 1,
    ) -> None:
        self._transport = transport
        self._queue = queue
        self._handle = handle
        self._batch = batch
        self._batch_bytes = batch_bytes
        self._concurrency = concurrency
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stopping: asyncio.Event, *, drain: timedelta) -> None:
        """Consume until *stopping* is set, then finish what is in flight within *drain*."""
        async with self._transport.consume(self._queue, prefetch=self._batch * self._concurrency) as inbox:
            receiving = asyncio.create_task(self._receive(inbox))
            stop = asyncio.create_task(stopping.wait())
            try:
                await asyncio.wait({receiving, stop}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (receiving, stop):
                    task.cancel()
                with suppress(asyncio.CancelledError):
                    await receiving
                left = await self._drain(drain)
            log.info("consumer.stopped", queue=self._queue, left_for_redelivery=left)

    async def _receive(self, inbox: Inbox) -> None:
        free = asyncio.Semaphore(self._concurrency)
        while True:
            await free.acquire()
            messages = await inbox.receive(self._batch, max_bytes=self._batch_bytes)
            task = asyncio.create_task(self._process(inbox, messages))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: free.release())

    async def _drain(self, deadline: timedelta) -> int:
        if not self._tasks:
            return 0
        _, unfinished = await asyncio.wait(self._tasks, timeout=deadline.total_seconds())
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        return len(unfinished)

    async def _process(self, inbox: Inbox, messages: Sequence[Received]) -> None:
        try:
            settlements = await self._handle_with_retries(messages)
        except Exception as error:
            if len(messages) > 1:
                for message in messages:
                    await self._process(inbox, [message])
                return
            # PostgreSQL would refuse the same data again; any other error may have been chance.
            settlements = [Settlement.REJECT if isinstance(error, DataError) else Settlement.REQUEUE]
            log.exception("message.failed", queue=self._queue, settlement=settlements[0].value)
        by_settlement = defaultdict(list)
        for message, settlement in zip(messages, settlements, strict=True):
            by_settlement[settlement].append(message)
        for settlement, settled in by_settlement.items():
            if settlement is Settlement.REJECT:
                metrics.POISONED.labels(self._queue).inc(len(settled))
            await inbox.settle(settled, settlement)

    async def _handle_with_retries(self, messages: Sequence[Received]) -> Sequence[Settlement]:
        tried = 0
        while True:
            try:
                return await self._handle(messages)
            except (StoreUnavailable, TransportError) as error:
                pause = _PAUSES[min(tried, len(_PAUSES) - 1)]
                log.warning("batch.postponed", queue=self._queue, error=str(error), messages=len(messages), pause=pause)
                tried += 1
                await asyncio.sleep(pause)
