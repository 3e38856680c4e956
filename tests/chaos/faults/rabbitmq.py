"""What can befall RabbitMQ: its nodes, its resources, and what is declared there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from broker.topology import ATTEMPT, BROADCAST, RECORD, ROUTED, dead_letters
from tests.chaos.faults.fault import Fault, Need, needing
from tests.support.eventually import eventually
from tests.support.rabbitmq import on_channel
from tests.support.rabbitmq_nodes import DISK_FREE_LIMIT, LocalRabbit
from tests.support.rabbitmq_servers import Rabbit, erlang_binary, vhost_of

if TYPE_CHECKING:
    from tests.chaos.stack import Stack

CONSUMERS_WITHIN = 30
"""Seconds after which a queue must have its consumers again."""

Choice = Callable[["Stack"], Awaitable[Sequence[Rabbit]]]

_LOOK_UP = "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r({vhost}, queue, {queue})), "
_LEADER = _LOOK_UP + "{{_, Node}} = amqqueue:get_pid(Q), Node."
_CANCEL = (
    _LOOK_UP + "[{{Pid, Tag}} | _] = [{{element(1, C), element(2, C)}} || C <- rabbit_amqqueue:consumers(Q)], "
    "{{ok, _, _}} = "
    "ra:process_command(amqqueue:get_pid(Q), rabbit_fifo:make_checkout({{Tag, Pid}}, cancel, #{{}})), ok."
)


async def _evaluate(stack: Stack, code: str, queue: str) -> str:
    expression = code.format(vhost=erlang_binary(vhost_of(stack.vhost)), queue=erlang_binary(queue))
    return await asyncio.to_thread(stack.nodes[0].ctl, "eval", expression)


async def _one(stack: Stack) -> Sequence[Rabbit]:
    return [stack.nodes[stack.busy_node()]]


async def _two(stack: Stack) -> Sequence[Rabbit]:
    return stack.rng.sample(stack.nodes, 2)


async def _leader(stack: Stack) -> Sequence[Rabbit]:
    answer = await _evaluate(stack, _LEADER, RECORD)
    return [node for node in stack.nodes if isinstance(node, LocalRabbit) and node.place.name == answer.strip("'\n")]


def _down(stop: str, choose: Choice, name: str, *needs: Need, seconds: float) -> Fault:
    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        nodes = await choose(stack)
        for node in nodes:
            await asyncio.to_thread(node.save_queues)
        try:
            await asyncio.gather(*(asyncio.to_thread(getattr(node, stop)) for node in nodes))
            yield
        finally:
            await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))

    return Fault(name=name, inflict=inflict, seconds=seconds, needs=needing("queues", *needs))


def restart_node(*, seconds: float = 0) -> Fault:
    """Return the fault that stops a node in good order."""
    return _down("stop", _one, "node restarted", seconds=seconds)


def kill_node(*, seconds: float = 0) -> Fault:
    """Return the fault that kills a node as a power cut would."""
    return _down("kill", _one, "node killed", seconds=seconds)


def kill_leader(*, seconds: float) -> Fault:
    """Return the fault that kills the node that leads the record queue."""
    return _down("kill", _leader, "leader killed", "cluster", seconds=seconds)


def kill_majority(*, seconds: float) -> Fault:
    """Return the fault that kills two of the nodes."""
    return _down("kill", _two, "minority left", "cluster", seconds=seconds)


def _hung(choose: Choice, name: str, *needs: Need, seconds: float) -> Fault:
    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        (node,) = await choose(stack)
        try:
            await asyncio.to_thread(node.suspend)
            yield
        finally:
            await asyncio.to_thread(node.resume)

    return Fault(name=f"{name} {seconds:g} s", inflict=inflict, seconds=seconds, needs=needing("queues", *needs))


def suspend_node(*, seconds: float) -> Fault:
    """Return the fault in which a node hangs."""
    return _hung(_one, "node hung", seconds=seconds)


def suspend_leader(*, seconds: float) -> Fault:
    """Return the fault in which the node hangs that leads the record queue."""
    return _hung(_leader, "leader hung", "cluster", seconds=seconds)


def raise_alarm(resource: str, begin: Sequence[str], end: Sequence[str], *, seconds: float) -> Fault:
    """Return the fault in which a node is short of a *resource*: RabbitMQ blocks every connection that publishes."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        (node,) = await _one(stack)
        try:
            await asyncio.to_thread(node.ctl, *begin)
            yield
        finally:
            await asyncio.to_thread(node.ctl, *end)

    return Fault(name=f"{resource} alarm", inflict=inflict, seconds=seconds, needs=needing("queues"))


def _once(name: str, act: Callable[[Stack], Awaitable[Any]], *, seconds: float) -> Fault:
    """Return a fault that does not end by itself: the product has to mend it."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        await act(stack)
        yield

    return Fault(name=name, inflict=inflict, seconds=seconds, needs=needing("queues"))


def close_connections(*, times: int = 1) -> Fault:
    """Return the fault in which RabbitMQ closes every connection."""

    async def act(stack: Stack) -> None:
        for _ in range(times):
            await asyncio.to_thread(stack.nodes[0].close_connections)

    return _once(f"connections closed x{times}", act, seconds=1)


def delete_queue(queue: str) -> Fault:
    """Return the fault in which a queue of the product is deleted."""

    async def act(stack: Stack) -> None:
        await on_channel(stack.vhost, lambda channel: channel.queue_delete(queue))

    return _once(f"{queue} deleted", act, seconds=3)


def purge_queue(queue: str) -> Fault:
    """Return the fault in which a queue of the product is purged."""

    async def act(stack: Stack) -> None:
        await on_channel(stack.vhost, lambda channel: channel.queue_purge(queue))

    return _once(f"{queue} purged", act, seconds=1)


def unbind_record_queue() -> Fault:
    """Return the fault in which the record queue loses the bindings of earlier versions."""

    async def act(stack: Stack) -> None:
        for exchange in (BROADCAST, ROUTED):
            await _unbind(stack.vhost, RECORD, exchange)

    return _once(f"{RECORD} unbound", act, seconds=3)


async def _unbind(vhost: str, queue: str, exchange: str) -> None:
    await on_channel(vhost, lambda channel: channel.queue_unbind(queue, exchange, "#" if exchange == ROUTED else ""))


def cancel_consumer(queue: str) -> Fault:
    """Return the fault in which a queue forgets one of its consumers, who is not told (rabbitmq-server#641)."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        before = await _consumers(stack, queue)
        await _evaluate(stack, _CANCEL, queue)
        yield
        try:
            await eventually(lambda: _are_back(stack, queue, before), within=CONSUMERS_WITHIN, every=0.5)
        except AssertionError:
            stack.violations.append(f"{queue} does not have {before} consumers again after {CONSUMERS_WITHIN} s")

    return Fault(name=f"consumer of {queue} forgotten", inflict=inflict, seconds=1, needs=needing("queues"))


async def _consumers(stack: Stack, queue: str) -> int:
    declared = await on_channel(stack.vhost, lambda channel: channel.queue_declare(queue, passive=True))
    return int(declared.method.consumer_count)


async def _are_back(stack: Stack, queue: str, count: int) -> bool:
    return await _consumers(stack, queue) >= count


_MEMORY = ("set_vm_memory_high_watermark", "absolute", "1"), ("set_vm_memory_high_watermark", "absolute", "1GB")
_DISK = ("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", DISK_FREE_LIMIT.rpartition(" ")[2])

FAULTS = [
    restart_node(),
    kill_node(seconds=5),
    kill_leader(seconds=5),
    kill_majority(seconds=10),
    suspend_node(seconds=5),
    suspend_node(seconds=40),
    suspend_leader(seconds=20),
    raise_alarm("memory", *_MEMORY, seconds=10),
    raise_alarm("disk", *_DISK, seconds=10),
    close_connections(),
    close_connections(times=5),
    delete_queue(RECORD),
    delete_queue(ATTEMPT),
    purge_queue(dead_letters(RECORD)),
    unbind_record_queue(),
    cancel_consumer(RECORD),
    cancel_consumer(ATTEMPT),
]
