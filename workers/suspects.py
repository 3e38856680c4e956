"""Suspects: a message that ends its worker each time is found, and its neighbours are handled.

    comes again --> its worker ended?  no: with the others, noted --survived--> settled
                                       yes: alone, noted ---------survived--> settled
                                       several times alone: rejected

A worker that is killed cannot say by what, so each message that comes again is noted in the store before it is handled.
What is left there by a worker that is gone may be what ended it, and is handled alone. Those that were left there the
fewest times go first. What comes for the first time costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b

import structlog

from broker.errors import StoreUnavailable
from broker.messages import claimed_id
from broker.store.signals.suspects import SuspectStore
from broker.transport import Received, Settlement
from workers.settling import Apart, Handler

ENDED = 4
"""How many workers a message must have ended before it is rejected: the first among others, the rest alone."""

log = structlog.get_logger()


class Suspects:
    """Handles messages with *handle*, and those alone that may have ended their workers.

    Args:
        handle: Handles messages.
        store: Where it is noted which are being handled.
    """

    def __init__(self, handle: Handler, store: SuspectStore) -> None:
        self._handle = handle
        self._store = store
        self._entry = asyncio.Lock()
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def handle(self, messages: Sequence[Received]) -> Sequence[Settlement]:
        """Handle *messages*; return a settlement for each.

        Raises:
            Apart: Some of them may have ended their workers.
        """
        keys = {message.tag: _key(message) for message in messages if message.redelivered}
        ended = await self._store.count(list(keys.values())) if keys else {}
        if not ended:
            return await self._handle_together(messages, list(keys.values()))
        times = {message.tag: ended.get(keys.get(message.tag, ""), 0) for message in messages}
        rejected = [message for message in messages if times[message.tag] >= ENDED]
        clear = [message for message in messages if not times[message.tag]]
        suspects = [[message] for message in messages if 0 < times[message.tag] < ENDED]
        suspects.sort(key=lambda suspect: times[suspect[0].tag])
        groups = [group for group in (rejected, clear, *suspects) if group]
        if len(groups) > 1:
            raise Apart(groups)
        if rejected:
            return await self._reject(rejected, list(keys.values()))
        return [await self._handle_alone(messages[0], keys[messages[0].tag], times[messages[0].tag])]

    async def _reject(self, messages: Sequence[Received], keys: Sequence[str]) -> Sequence[Settlement]:
        for message in messages:
            log.error("message.isolated", signal_id=claimed_id(message), hint="it ended several recorders")
        await self._store.end(keys)
        return [Settlement.REJECT] * len(messages)

    async def _handle_together(self, messages: Sequence[Received], keys: Sequence[str]) -> Sequence[Settlement]:
        async with self._entry:
            self._running += 1
            self._idle.clear()
        try:
            async with self._noted(keys):
                return await self._handle(messages)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _handle_alone(self, message: Received, key: str, ended: int) -> Settlement:
        """Handle *message* while this process handles no other one."""
        log.warning("message.suspected", signal_id=claimed_id(message), workers_ended=ended)
        async with self._entry:
            await self._idle.wait()
            async with self._noted([key]):
                return (await self._handle([message]))[0]

    @asynccontextmanager
    async def _noted(self, keys: Sequence[str]) -> AsyncIterator[None]:
        if not keys:
            yield
            return
        await self._store.begin(keys)
        try:
            yield
        finally:
            with suppress(StoreUnavailable):
                await self._store.end(keys)


def _key(message: Received) -> str:
    """Return what stands for *message* when it comes again."""
    signal_id = claimed_id(message)
    return str(signal_id) if signal_id else blake2b(message.body, digest_size=16).hexdigest()
