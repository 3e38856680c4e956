"""Calls: how many requests are made to one host at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Calls:
    """Lets so many tasks at a time call a host; the others wait for their turns.

    Few wait, and not for long: there are hardly more places for attempts at a host than it may be called at a time (see
    `workers.places`).

    Args:
        per_host: How many.
    """

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._hosts: dict[str, tuple[asyncio.Semaphore, set[object]]] = {}

    @asynccontextmanager
    async def at(self, host: str | None, *, within: float | None = None) -> AsyncIterator[None]:
        """Call *host* in the block; None: nothing that is limited.

        Raises:
            TimeoutError: It could not be called *within* so many seconds.
        """
        if host is None:
            yield
            return
        semaphore, users = self._hosts.setdefault(host, (asyncio.Semaphore(self._per_host), set()))
        user = object()
        users.add(user)
        try:
            async with asyncio.timeout(within if semaphore.locked() else None):
                await semaphore.acquire()
            try:
                yield
            finally:
                semaphore.release()
        finally:
            users.discard(user)
            if not users:
                self._hosts.pop(host, None)
