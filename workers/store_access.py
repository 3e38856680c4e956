"""Access to the store: while it does not take the work of a process, others that it is well with get the messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from broker.errors import StoreUnavailable

LASTING = timedelta(seconds=3)
"""For how long rehearsals must have failed, or one must have had no answer: a lost link takes less."""

log = structlog.get_logger()


class StoreAccess:
    """Rehearses the work of a worker in the store, and knows from that whether the store takes it.

    Only this process may be refused, or cut off: for it alone a password was changed, or a network is broken. Messages
    that it kept until that is over would wait, although other processes could do their work.

    Args:
        rehearsals: Each does a part of the work without effect.
        lasting: For how long they must have failed.
    """

    def __init__(self, *rehearsals: Callable[[], Awaitable[None]], lasting: timedelta = LASTING) -> None:
        self._rehearsals = rehearsals
        self._lasting = lasting.total_seconds()
        self._since: float | None = None
        self.lost = asyncio.Event()
        """Set while the store does not take the work, as far as is known."""
        self.found = asyncio.Event()
        """Set while it does."""
        self.found.set()

    async def rehearse(self) -> None:
        """Rehearse the work, every few seconds.

        Raises:
            StoreUnavailable: The store does not take it.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        unanswered = loop.call_later(self._lasting, self._lose, "no answer")
        try:
            for rehearse in self._rehearsals:
                await rehearse()
        except StoreUnavailable as error:
            self._since = began if self._since is None else self._since
            if loop.time() - self._since >= self._lasting:
                self._lose(str(error))
            raise
        finally:
            unanswered.cancel()
        self._since = None
        if self.lost.is_set():
            self.lost.clear()
            self.found.set()
            log.info("store.found")

    def _lose(self, reason: str) -> None:
        if not self.lost.is_set():
            self.found.clear()
            self.lost.set()
            log.warning("store.lost", error=reason, hint="other processes get the messages meanwhile")
