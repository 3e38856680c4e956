"""The one loop that consumes a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog

from broker import metrics
from broker.errors import Unavailable
from broker.streaks import Streak
from broker.transport import Inbox, Received, Transport, check_parts
from workers.batches import Batches
from workers.quarantine import Quarantine
from workers.settling import Handler, Settler
from workers.store_access import StoreAccess

HOLD = timedelta(minutes=2)
"""How long a message whose handling fails is kept unsettled; RabbitMQ closes the channel after half an hour."""
PAUSE = timedelta(seconds=0.5)
"""The pause before a message that failed alone is tried again; later pauses are longer."""
_SOON = 0.03
"""For how many seconds a small batch keeps others from being taken; most take some milliseconds."""
_SMALL = 1 / 10
"""What part of the most messages, and of the most bytes, a small batch has less than: there is no backlog."""
_ROOM = 20
"""How many messages that may be poison are set aside at most."""

log = structlog.get_logger()


def check_consumers(transport: Transport, queues: Sequence[str]) -> None:
    """Return if *queues* and what leads to them are there, and all consumers of this process are.

    Raises:
        Unroutable: One of the queues is missing, or a binding is.
        Unavailable: One of the consumers is.
    """
    check_parts(transport, queues)
    if not transport.consuming:
        raise Unavailable("the server does not know a consumer of this process")


class Consumer:
    """Consumes *queue* and settles each message as *handle* says.

    No message is poison because the store or the transport is unavailable: it is tried again after a pause, and
    returned to the queue after *hold*. One whose handling fails otherwise is tried alone, several times, while the
    others pass; it is poison if it fails each time while others succeed (see `workers.quarantine`).

    While there is no backlog, one batch is under way at a time, as far as it does not take long: what comes meanwhile
    makes the next one larger, and most of what a batch costs it costs however small it is.

    While the store does not take the work of this process, other consumers of the queue get its messages.

    Args:
        transport: Where the queue is.
        queue: Its name.
        handle: Given up to *batch* messages, returns a settlement for each.
        access: Knows whether the store takes the work.
        outcomes: Told of what becomes of the messages.
        batch: Most messages of one call of *handle*.
        batch_bytes: Most bytes of their bodies; a larger message is handled alone.
        concurrency: Most calls of *handle* at a time, besides those for single messages that were set aside.
        aside: How many more there may be of those that let others pass (see `step_aside`).
        hold: How long a message whose handling fails is kept.
        pause: The pause before a message that failed alone is tried again.
    """

    def __init__(
        self,
        transport: Transport,
        queue: str,
        handle: Handler,
        *,
        access: StoreAccess | None = None,
        outcomes: Streak | None = None,
        batch: int = 1,
        batch_bytes: int = 8 << 20,
        concurrency: int = 1,
        aside: int = 0,
        hold: timedelta = HOLD,
        pause: timedelta = PAUSE,
    ) -> None:
        self._transport = transport
        self._queue = queue
        self._handle = handle
        self._access = access or StoreAccess()
        self._outcomes = outcomes or Streak()
        self._batch = batch
        self._batch_bytes = batch_bytes
        self._most = concurrency + aside
        self._free = asyncio.Semaphore(concurrency)
        self._hold = hold
        self._pause = pause
        self._tasks: set[asyncio.Task[None]] = set()
        self._quarantine: Quarantine | None = None
        self._counting: set[asyncio.Task[None]] = set()
        """Those of the tasks that count towards the concurrency."""
        self._released = asyncio.Event()

    async def run(self, stopping: asyncio.Event, *, drain: timedelta) -> None:
        """Consume until *stopping* is set, then finish what is in flight within *drain*, unless this is cancelled."""
        window = max(2, self._batch * self._most)  # one message aside, and one that passes
        async with self._transport.consume(self._queue, prefetch=window) as inbox:
            settler = Settler(inbox, self._queue, self._handle, self._outcomes)
            half, leaving = window // 2, asyncio.Event()
            async with Quarantine(
                settler, leaving, room=min(_ROOM, half), postponed=half, pause=self._pause
            ) as quarantine:
                self._quarantine = quarantine
                batches = Batches(settler, quarantine, leaving, hold=self._hold)
                receiving = asyncio.create_task(self._receive(inbox, batches, quarantine))
                leave = asyncio.create_task(self._leave_to_others(inbox, leaving))
                stop = asyncio.create_task(stopping.wait())
                try:
                    await asyncio.wait({receiving, stop}, return_when=asyncio.FIRST_COMPLETED)
                    if receiving.done():
                        await receiving  # which failed
                    receiving.cancel()
                    leaving.set()
                    await self._drain(drain)
                finally:
                    left = len(self._tasks) + len(quarantine)
                    await _end([receiving, leave, stop, *self._tasks])
                    log.info("consumer.stopped", queue=self._queue, left_for_redelivery=left)

    @property
    def set_aside(self) -> int:
        """How many messages failed alone, and are tried again aside from the others."""
        return 0 if self._quarantine is None else len(self._quarantine)

    def step_aside(self) -> None:
        """Let further messages be handled although the call of *handle* that this is from takes long, if they may."""
        task = asyncio.current_task()
        if task in self._counting and len(self._tasks) < self._most:
            self._release(task)

    async def _leave_to_others(self, inbox: Inbox, leaving: asyncio.Event) -> None:
        """Leave the messages of the queue to other consumers whenever the store does not take the work of this one."""
        while True:
            await self._access.lost.wait()
            inbox.suspend()
            leaving.set()
            await self._access.found.wait()
            leaving.clear()
            inbox.resume()

    async def _receive(self, inbox: Inbox, batches: Batches, quarantine: Quarantine) -> None:
        note_size = metrics.BATCH_MESSAGES.labels(self._queue).observe
        while True:
            await self._free.acquire()
            await quarantine.wait_for_relief()
            messages = await inbox.receive(self._batch, max_bytes=self._batch_bytes)
            note_size(len(messages))
            task = asyncio.create_task(batches.process(messages))
            self._tasks.add(task)
            self._counting.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(self._release)
            if self._is_small(messages):
                self._released.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SOON):
                        await self._released.wait()

    def _is_small(self, messages: Sequence[Received]) -> bool:
        return (
            len(messages) < self._batch * _SMALL
            and sum(len(message.body) for message in messages) < self._batch_bytes * _SMALL
        )

    def _release(self, task: asyncio.Task[None]) -> None:
        """Let *task* no longer count towards the concurrency."""
        if task in self._counting:
            self._counting.discard(task)
            self._free.release()
            self._released.set()

    async def _drain(self, deadline: timedelta) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=deadline.total_seconds())


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
