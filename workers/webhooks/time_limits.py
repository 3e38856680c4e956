"""Time limits for receivers, which are not shortened while this process is suspended."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import TracebackType

_SUSPENDED = 0.1
"""By how many seconds a timer is late if the process was suspended: stopped, or without CPU."""


class TimeLimit:
    """An async context manager that raises TimeoutError if its block takes longer than *limit*.

    If the process was suspended when the limit ended, the limit is extended once, by as much as that was noticed too
    late, and at most to twice its length: an answer may have arrived in time, and is read first.
    """

    def __init__(self, limit: timedelta) -> None:
        self._seconds = limit.total_seconds()
        self._extended = False
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + self._seconds
        self._timer = self._loop.call_at(self._end, self._expire)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _expire(self) -> None:
        late = self._loop.time() - self._end
        if late > _SUSPENDED and not self._extended:
            self._extended = True
            self._timer = self._loop.call_later(min(late, self._seconds), self._expire)
        else:
            self._timeout.reschedule(self._loop.time())
