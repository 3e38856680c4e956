"""Time limits for receivers, which are not shortened while this process is suspended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

_SUSPENDED = 0.1
"""By how many seconds a timer is late if the process was suspended: stopped, or without CPU."""


@asynccontextmanager
async def time_limit(limit: timedelta) -> AsyncIterator[None]:
    """Raise TimeoutError if the block takes longer than *limit*.

    If the process was suspended when the limit ended, the limit is extended once, by as much as that was noticed too
    late, and at most to twice its length: an answer may have arrived in time, and is read first.
    """
    loop, seconds = asyncio.get_running_loop(), limit.total_seconds()
    end = loop.time() + seconds
    async with asyncio.timeout(None) as timeout:

        def expire(*, extended: bool = False) -> None:
            late = loop.time() - end
            if late > _SUSPENDED and not extended:
                timers.append(loop.call_later(min(late, seconds), partial(expire, extended=True)))
            else:
                timeout.reschedule(loop.time())

        timers = [loop.call_at(end, expire)]
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
