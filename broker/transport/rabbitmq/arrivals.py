"""The messages that have come and were not taken yet, of one consumer or of several that share them."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Collection, Sequence

from broker.transport import Received, take_batch


class Arrivals:
    """Messages in the order in which they came."""

    def __init__(self) -> None:
        self._received: deque[Received] = deque()
        self._some = asyncio.Event()

    def add(self, message: Received) -> None:
        """Add *message* behind the others."""
        self._received.append(message)
        self._some.set()

    async def take(self, limit: int, *, max_bytes: int = sys.maxsize) -> Sequence[Received]:
        """Wait for the first message, then take what `Inbox.receive` returns."""
        while not self._received:
            self._some.clear()
            await self._some.wait()
        return take_batch(self._received, limit, max_bytes=max_bytes)

    def remove(self, tags: Collection[int]) -> list[Received]:
        """Remove the messages with these *tags*, and return them."""
        removed = [message for message in self._received if message.tag in tags]
        if removed:
            self._received = deque(message for message in self._received if message.tag not in tags)
        return removed
