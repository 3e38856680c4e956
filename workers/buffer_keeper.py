"""The buffer keeper: correlates buffered messages, and records those whose time to live is over."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import structlog

from broker.errors import TransportError
from broker.messages import signal_message
from broker.operations.buffering import BufferCorrelator
from broker.signals import Signal
from broker.store.postgres.database import DataError
from broker.store.signals.buffering import BufferStore
from broker.topology import RECORD
from broker.transport import Transport
from workers.sweeping import Rows, Step, Sweeper

_TICK = 0.25
_SELDOM = 30.0
_LIMIT = 100
"""How many messages one sweep correlates, or records."""
_MOST_NAMES = 1000
"""With more names to look at, all messages are looked at."""

log = structlog.get_logger()


class BufferKeeper(Sweeper):
    """Runs in every scheduler process; they share the work without knowing of each other.

    Args:
        buffer: The messages.
        correlator: Correlates them.
        transport: Where the record queue is.
        timeout: How long a publish may take.
    """

    name = "buffer_keeper"

    def __init__(
        self, buffer: BufferStore, correlator: BufferCorrelator, transport: Transport, *, timeout: timedelta
    ) -> None:
        self._buffer = buffer
        self._correlator = correlator
        self._transport = transport
        self._timeout = timeout
        self._names: set[str] | None = set()
        """The names of messages to look at; None: all."""
        self._looking: tuple[list[str] | None, int] | None = None
        """The names that are being looked at, and how far that is."""
        self._expired = Rows("expire_buffered")
        step = partial(Step, pause=_TICK)
        super().__init__(
            step("look_again", self.look_again, every=_SELDOM),
            step("correlate", self.correlate, full=_LIMIT),
            step("expire_buffered", self.expire, full=_LIMIT, every=1.0),
            step("forget_message_ids", self.forget_ids, full=_LIMIT, every=_SELDOM),
            tick=_TICK,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweep until *stopping* is set, from now on with the names that are told."""
        self._buffer.listen(self.note_name)
        await super().run(stopping)

    def note_name(self, name: str | None) -> None:
        """Note that a subscription may wait now for buffered messages of that name; None: of any."""
        if name is None or self._names is None or len(self._names) >= _MOST_NAMES:
            self._names = None
        else:
            self._names.add(name)

    async def look_again(self) -> int:
        """Look at all messages now and then: through a pooler no notification comes."""
        self.note_name(None)
        return 0

    async def correlate(self) -> int:
        """Correlate messages that a subscription may wait for now, the oldest first; return how many were looked at."""
        if self._looking is None:
            if self._names is not None and not self._names:
                return 0
            self._looking = None if self._names is None else sorted(self._names), 0
            self._names = set()
        names, after = self._looking
        found = await self._buffer.find(names, after=after, limit=_LIMIT)
        for signal_id in found:
            await self._correlate(signal_id)
            self._looking = names, signal_id
        if len(found) < _LIMIT:
            self._looking = None
        return len(found)

    async def _correlate(self, signal_id: int) -> None:
        try:
            signal = await self._correlator.correlate(signal_id)
        except DataError as error:
            log.warning("row.refused", step="correlate", signal_id=signal_id, error=str(error))
            return
        if signal is not None:
            log.info("message.correlated", signal_id=signal_id, name=signal.throw.name)
            await self._publish(signal)

    async def _publish(self, signal: Signal) -> None:
        """Publish *signal* to the record queue: a recorder publishes its attempt. If that fails, it is rescued."""
        try:
            await self._transport.publish(
                signal_message(signal), exchange="", routing_key=RECORD, timeout=self._timeout
            )
        except TransportError as error:
            log.warning("message.unpublished", signal_id=signal.id, error=str(error))

    async def expire(self) -> int:
        """Record messages whose time to live is over, owed to no subscription; return how many."""
        return await self._expired.take(self._expire, _LIMIT)

    async def _expire(self, limit: int, offset: int) -> int:
        return await self._buffer.expire(limit=limit, offset=offset)

    async def forget_ids(self) -> int:
        """Forget ids of messages whose time to live is over; return how many."""
        return await self._buffer.forget_ids(limit=_LIMIT)
