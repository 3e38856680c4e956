"""What a fault is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.support.books import SLOWEST_ANSWER

if TYPE_CHECKING:
    from tests.chaos.stack import Stack

Need = Literal["queues", "cluster", "network", "links", "postgres", "disk", "clock"]
Inflict = Callable[["Stack"], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that can befall a stack.

    Args:
        name: What it is called in reports; unique.
        inflict: Entering it begins the fault, leaving it takes the fault away; both wait until that is done.
        seconds: How long it goes on in between.
        needs: What a stack must have to suffer it.
        halts: Whether an answer may have to wait until it is over.
    """

    name: str
    inflict: Inflict
    seconds: float = 0
    needs: frozenset[Need] = frozenset()
    halts: bool = False

    @property
    def slowest(self) -> float:
        """How long (seconds) an answer may take because of it."""
        return SLOWEST_ANSWER + (self.seconds if self.halts else 0)

    async def befall(self, stack: Stack) -> None:
        """Begin, go on for its time, and end."""
        async with self.inflict(stack):
            await asyncio.sleep(self.seconds)


def needing(*needs: Need) -> frozenset[Need]:
    """Return *needs* as a fault has them."""
    return frozenset(needs)


def together(one: Fault, other: Fault) -> Fault:
    """Return two faults at once: they begin and end at the same time, each at its own pace."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        async with AsyncExitStack() as first, AsyncExitStack() as second:
            both = ((first, one), (second, other))
            await _all(*(context.enter_async_context(fault.inflict(stack)) for context, fault in both))
            yield
            await _all(first.aclose(), second.aclose())

    return Fault(
        name=f"{one.name} + {other.name}",
        inflict=inflict,
        seconds=max(one.seconds, other.seconds),
        needs=one.needs | other.needs,
        halts=one.halts or other.halts,
    )


async def _all(*steps: Awaitable[None]) -> None:
    """Take all *steps* to their ends, also if one of them fails."""
    for result in await asyncio.gather(*steps, return_exceptions=True):
        if result is not None:
            raise result
