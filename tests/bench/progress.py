"""Waiting for a number to be reached, however slowly, as long as it goes on."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

PATIENCE = 60
"""Seconds without progress after which something is lost."""


class SignalsLostError(Exception):
    """Raised when something accepted is not recorded or delivered, or is recorded twice: the product has a defect."""


async def reach(count: Callable[[], int | Awaitable[int]], target: int, *, every: float = 0.02) -> None:
    """Return once *count* is at least *target*.

    Raises:
        SignalsLostError: It has stood still below it for a minute.
    """
    most, since = -1, time.monotonic()
    while True:
        found = count()
        now = await found if inspect.isawaitable(found) else found
        if now >= target:
            return
        if now > most:
            most, since = now, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            raise SignalsLostError(f"{now} of {target} came, and no other one for {PATIENCE} s")
        await asyncio.sleep(every)
