"""Sweeps: steps that fail each for itself, and rows that PostgreSQL refuses and that do not hold up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import structlog

from broker.errors import StoreRefusal, StoreUnavailable
from broker.store.postgres.database import DataError
from broker.streaks import Streak

_MOST = 10
"""How many rows one sweep finds to be refused; the next sweep goes on behind them."""
_PASSED_OVER = timedelta(seconds=30)
"""For how long rows that were refused are passed over."""
_MOST_DOUBLINGS = 3
_OF_THE_SERVER = ("25006", "28", "3D", "53")
"""SQLSTATEs, or their classes, of refusals that no row is at fault for: it is read-only, lets nobody in, or is full."""

log = structlog.get_logger()


class Step:
    """One step of a sweep. After a failure it pauses, longer each time, and others go on.

    Args:
        name: For the log.
        do: Does it, and returns how much it did.
        full: How much means that there may be more.
        every: The least seconds between two of them, unless there may be more.
        pause: The least seconds after a failure; the most are eight times as many.
    """

    def __init__(
        self, name: str, do: Callable[[], Awaitable[int]], *, full: int = 0, every: float = 0.0, pause: float
    ) -> None:
        self.name = name
        self._do = do
        self._full = full
        self._every = every
        self._pause = pause
        self._failures = 0
        self._not_before = float("-inf")

    @property
    def failing(self) -> bool:
        """Whether it failed when it was taken last."""
        return self._failures > 0

    async def take(self) -> bool:
        """Take the step, unless it pauses; return whether there may be more to do at once.

        Raises:
            Exception: What it failed with.
        """
        clock = asyncio.get_running_loop().time
        if clock() < self._not_before:
            return False
        try:
            done = await self._do()
        except Exception:
            self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
            self._not_before = clock() + self._pause * 2**self._failures
            raise
        more = self._full > 0 and done >= self._full
        self._failures = 0
        self._not_before = clock() + (0.0 if more else self._every)
        return more


class Sweeper:
    """Takes steps again and again; one that fails is repeated after a pause, and holds up no other.

    Args:
        steps: The steps, in their order.
        tick: The seconds between two sweeps, unless there may be more to do.
    """

    def __init__(self, *steps: Step, tick: float) -> None:
        self._steps = steps
        self._tick = tick
        self._outcomes = Streak()

    async def check(self) -> None:
        """Return unless sweeps have been failing for a while.

        Raises:
            SignalBrokerError: They have, for this reason.
        """
        self._outcomes.check()

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweep until *stopping* is set."""
        while not stopping.is_set():
            if not await self.sweep():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._tick):
                        await stopping.wait()

    async def sweep(self) -> bool:
        """Take each step that is due; return whether there may be more to do at once."""
        more = False
        for step in self._steps:
            try:
                more |= await step.take()
            except StoreUnavailable as error:
                self._outcomes.note_failure(error)
                log.warning("sweep.postponed", step=step.name, error=str(error))
            except Exception as error:
                self._outcomes.note_failure(error)
                log.exception("sweep.failed", step=step.name)
        if not any(step.failing for step in self._steps):
            self._outcomes.note_success()
        return more


class Rows:
    """The first rows of a step, in their order. Those that PostgreSQL refuses are found and passed over for a while."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._passed_over = 0
        self._until = float("-inf")

    async def take(self, handle: Callable[[int, int], Awaitable[int]], limit: int) -> int:
        """Let *handle* handle at most *limit* rows; return how many it did.

        *handle* is given how many rows to handle, and how many to leave out before them. It returns how many there
        were, which then are no longer among the first rows. If it is refused, it is given fewer.

        Raises:
            DataError, StoreRefusal: Several rows were refused, and no other was handled; or the server refuses all.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._until:
            self._passed_over, self._until = 0, now + _PASSED_OVER.total_seconds()
        handled, refused, size = 0, 0, limit
        while handled < limit and refused < _MOST:
            try:
                count = await handle(size, self._passed_over)
            except (DataError, StoreRefusal) as error:
                if isinstance(error, StoreRefusal) and error.sqlstate.startswith(_OF_THE_SERVER):
                    raise
                if size > 1:
                    size //= 2
                    continue
                refused += 1
                self._passed_over += 1
                log.warning("row.refused", step=self._step, error=str(error))
                if refused == _MOST and not handled:
                    raise
                continue
            handled += count
            if count < size:
                break
            size = min(2 * size, limit - handled)
        return handled
