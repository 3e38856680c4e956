"""Keeping: outcomes that PostgreSQL refuses are kept apart from the others until it takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from broker.errors import StoreRefusal, StoreUnavailable
from broker.store.deliveries.attempts import Ended
from broker.store.postgres.database import DataError

MOST = 1000
"""How many outcomes a deliverer keeps. Those beyond take the places of messages, so it takes fewer new ones."""
_PAUSE = 1.0

log = structlog.get_logger()


class Kept:
    """Outcomes, each of which is tried again alone, about every second. An async context manager.

    Leaving it tries all of them once more.

    Args:
        store: Stores an outcome, and does what follows from that.
        pause: Seconds between the tries.
    """

    def __init__(self, store: Callable[[Ended], Awaitable[None]], *, pause: float = _PAUSE) -> None:
        self._store = store
        self._pause = pause
        self._kept: dict[str, Ended] = {}
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        self._task = asyncio.create_task(self._try_repeatedly(), name="kept")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        await asyncio.wait([self._task])

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def __contains__(self, delivery_id: str) -> bool:
        """Return whether the outcome of an attempt at that delivery is kept."""
        return delivery_id in self._kept

    def keep(self, ended: Ended) -> bool:
        """Keep *ended* if there is room; return whether there is."""
        if len(self._kept) >= MOST:
            return False
        self._kept[ended.due.delivery_id] = ended
        return True

    async def _try_repeatedly(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._stopping.wait()
            await self._try_all()
        if self._kept:
            log.error("outcomes.dropped", outcomes=len(self._kept), hint="their receivers are called again")

    async def _try_all(self) -> None:
        for delivery_id, ended in [*self._kept.items()]:
            try:
                await self._store(ended)
            except (StoreRefusal, DataError) as error:
                log.debug("outcome.refused", delivery_id=delivery_id, error=str(error))
            except StoreUnavailable:
                return
            except Exception:
                log.exception("outcome.failed", delivery_id=delivery_id)
            else:
                del self._kept[delivery_id]
                log.info("outcome.stored", delivery_id=delivery_id)
