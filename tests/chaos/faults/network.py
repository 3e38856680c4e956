"""What can befall the network: between the nodes of RabbitMQ, and between the product and RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.chaos.faults.fault import Fault, needing
from tests.support.proxy import Link

if TYPE_CHECKING:
    from tests.chaos.stack import Stack


def part_nodes(*, seconds: float) -> Fault:
    """Return the fault in which one node and the others do not reach each other; the product reaches them all."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        assert stack.network is not None
        lonely = stack.busy_node()
        others = [number for number in range(len(stack.nodes)) if number != lonely]
        try:
            for other in others:
                await asyncio.to_thread(stack.network.part, lonely, other)
            yield
        finally:
            for other in others:
                await asyncio.to_thread(stack.network.rejoin, lonely, other)

    return Fault(name=f"partition {seconds:g} s", inflict=inflict, seconds=seconds, needs=needing("network"))


def _on_links(
    name: str, begin: Callable[[Link], Any], end: Callable[[Link], Any], *, everywhere: bool = False, seconds: float
) -> Fault:
    """Return a fault of the way to a busy node, or *everywhere* of the ways to all."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        links = stack.links if everywhere else [stack.links[stack.busy_node()]]
        try:
            for link in links:
                await _do(begin(link))
            yield
        finally:
            for link in links:
                await _do(end(link))

    where = "all nodes" if everywhere else "a node"
    return Fault(name=f"{name} to {where}", inflict=inflict, seconds=seconds, needs=needing("links"))


async def _do(result: Awaitable[None] | None) -> None:
    if result is not None:
        await result


def reset(*, everywhere: bool = False) -> Fault:
    """Return the fault in which connections are reset."""
    return _on_links("reset", Link.reset, Link.restore, everywhere=everywhere, seconds=1)


def refuse(*, everywhere: bool = False, seconds: float) -> Fault:
    """Return the fault in which connections are cut, and refused from then on."""
    return _on_links("refused", Link.refuse, Link.listen, everywhere=everywhere, seconds=seconds)


def stall(*, requests: bool = True, answers: bool = True, everywhere: bool = False, seconds: float) -> Fault:
    """Return the fault in which bytes are lost on the way to a node, on the way back, or both; connections stay."""

    def begin(link: Link) -> None:
        link.stall(requests=requests, answers=answers)

    def end(link: Link) -> None:
        link.restore()
        link.reset()  # a gap in the stream would not close in a real network either

    direction = {(True, True): "both ways", (True, False): "of requests", (False, True): "of answers"}
    name = f"stall {direction[requests, answers]}"
    return _on_links(name, begin, end, everywhere=everywhere, seconds=seconds)


def slow_down(*, seconds: float) -> Fault:
    """Return the fault in which every packet is a fifth of a second late."""
    return _on_links("slow link", lambda link: link.slow_down(0.2), Link.restore, everywhere=True, seconds=seconds)


FAULTS = [
    part_nodes(seconds=20),
    part_nodes(seconds=90),
    reset(),
    reset(everywhere=True),
    refuse(seconds=8),
    refuse(everywhere=True, seconds=8),
    stall(seconds=20),
    stall(answers=False, seconds=20),
    stall(requests=False, seconds=20),
    stall(everywhere=True, seconds=10),
    slow_down(seconds=10),
]
