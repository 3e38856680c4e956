"""Coalescing: requests that arrive together share one round trip, and later ones join the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from itertools import accumulate, islice
from types import TracebackType
from typing import Generic, Self, TypeVar

from broker.errors import SignalBrokerError, StoreRefusal, StoreUnavailable, TransportError

_PARTS = 32
"""How often a batch is divided; that finds a few items that are refused among hundreds."""

T = TypeVar("T")
R = TypeVar("R")


class Coalescer(Generic[T, R]):
    """Turns concurrent calls of `submit` into consecutive calls of *execute*, never two at once.

    Args:
        execute: Takes the items of a batch in the order of arrival and returns as many results in the same order. If it
            is refused, it is given the halves, since one item may be the cause. What it raises then, and any other
            exception, is raised to every caller of the batch or half.
        max_batch: The most items of one batch.
        weigh: Returns the weight of an item.
        max_weight: The most weight of one batch; a heavier item is a batch of its own.
    """

    def __init__(
        self,
        execute: Callable[[list[T]], Awaitable[Sequence[R]]],
        *,
        max_batch: int = 500,
        weigh: Callable[[T], int] | None = None,
        max_weight: int = 0,
    ) -> None:
        self._execute = execute
        self._max_batch = max_batch
        self._weigh = weigh
        self._max_weight = max_weight
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        for _, future in self._waiting:
            future.cancel()

    async def submit(self, item: T, *, timeout: timedelta | None = None) -> R:
        """Return *execute*'s result for *item*; a caller that is cancelled does not affect the others of its batch.

        Raises:
            TimeoutError: The result did not come within *timeout*, which includes the wait for the batch before.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        # Cheaper than asyncio.timeout, and on the path of every throw.
        timer = None if timeout is None else loop.call_later(timeout.total_seconds(), _expire, future)
        try:
            return await future
        finally:
            del future  # its error leads to this frame, and so to the item: a cycle that would keep it in memory
            if timer is not None:
                timer.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(self._fitting())]
                live = [(item, future) for item, future in batch if not future.done()]
                if live:
                    await self._run_batch(live)
        finally:
            self._runner = None

    def _fitting(self) -> int:
        """Return how many of the waiting items make up the next batch."""
        count = min(len(self._waiting), self._max_batch)
        if self._weigh is None:
            return count
        weights = accumulate(self._weigh(item) for item, _ in islice(self._waiting, count))
        return max(1, sum(1 for weight in weights if weight <= self._max_weight))

    async def _run_batch(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        """Run *batch*, in parts if it is refused; if most parts are, the rest is refused likewise."""
        parts, left = [batch], _PARTS
        while parts:
            part = parts.pop()
            if await self._run_part(part, divisible=left > 0):
                left -= 1
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]

    async def _run_part(self, batch: list[tuple[T, asyncio.Future[R]]], *, divisible: bool) -> bool:
        """Run *batch*, and answer its callers; return instead whether it is to be divided, if it is *divisible*."""
        try:
            results = await self._execute([item for item, _ in batch])
            answers = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001  (raised to the callers)
            if divisible and len(batch) > 1 and _is_refusal(error):
                return True
            _fail(batch, error)
            return False
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), result in answers:
            if not future.done():
                future.set_result(result)
        return False


def _is_refusal(error: Exception) -> bool:
    """Return whether nothing was done, for a reason that may lie in one item."""
    if isinstance(error, StoreUnavailable | TransportError):
        return isinstance(error, StoreRefusal)
    return isinstance(error, SignalBrokerError)


def _fail(batch: list[tuple[T, asyncio.Future[R]]], error: Exception) -> None:
    """Raise *error* to the callers of *batch*, and empty it: the error leads to it, and would keep all of its items."""
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
    batch.clear()


def _expire(future: asyncio.Future[R]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
