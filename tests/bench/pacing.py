"""What is due at a fixed rate, whatever becomes of what was due before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def at_rate(rate: float, seconds: float, do: Callable[[float], object]) -> None:
    """Call *do* in the event loop *rate* times a second, with the moment (seconds since 1970) at which it was due.

    The moments come from a thread that sleeps: the timers of an event loop have a resolution of a millisecond only.
    """
    loop = asyncio.get_running_loop()

    def tick() -> None:
        start = time.time()
        for number in range(int(rate * seconds)):
            due = start + number / rate
            time.sleep(max(0.0, due - time.time()))
            loop.call_soon_threadsafe(do, due)

    await asyncio.to_thread(tick)
    await asyncio.sleep(0)


def percentile(latencies: list[float], share: float) -> float:
    """Return the milliseconds within which *share* of *latencies* (seconds) lie."""
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
