"""What can befall the stack. Each fault is over when what it took away is back."""

from __future__ import annotations

import asyncio

from tests.chaos.postgres import Postgres
from tests.chaos.stack import Fault, Stack
from tests.support.load import Load
from tests.support.rabbitmq_servers import Rabbit


def kill(role: str) -> Fault:
    """Return the fault that kills the process of *role* with ``kill -9``."""

    async def fault(stack: Stack, _load: Load) -> None:
        await stack.pause()
        process = stack.processes[role]
        process.kill()
        await process.process.wait()
        await process.start()

    return fault


def replace(role: str) -> Fault:
    """Return the fault that stops the process of *role* in good order, while nobody throws at it."""

    async def fault(stack: Stack, load: Load) -> None:
        process = stack.processes[role]
        load.gateways.discard(process.url)
        assert await process.stop() == 0
        await process.start()
        load.gateways.update(stack.gateways)

    return fault


def restart_rabbitmq(rabbitmq: Rabbit) -> Fault:
    """Return the fault that stops RabbitMQ in good order."""

    async def fault(stack: Stack, _load: Load) -> None:
        await stack.pause()
        await asyncio.to_thread(rabbitmq.stop)
        await asyncio.to_thread(rabbitmq.start)

    return fault


def kill_rabbitmq(rabbitmq: Rabbit) -> Fault:
    """Return the fault that kills RabbitMQ."""

    async def fault(stack: Stack, _load: Load) -> None:
        await asyncio.to_thread(rabbitmq.save_queues)
        await stack.pause()
        await asyncio.to_thread(rabbitmq.kill)
        await asyncio.to_thread(rabbitmq.start)

    return fault


def crash_postgres(postgres: Postgres) -> Fault:
    """Return the fault that stops PostgreSQL without letting it finish anything."""

    async def fault(stack: Stack, _load: Load) -> None:
        await stack.pause()
        await asyncio.to_thread(postgres.crash)
        await asyncio.to_thread(postgres.start)

    return fault


def suspend_postgres(postgres: Postgres, *, seconds: float) -> Fault:
    """Return the fault in which PostgreSQL hangs for *seconds*."""

    async def fault(stack: Stack, _load: Load) -> None:
        await stack.pause()
        await asyncio.to_thread(postgres.suspend)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(postgres.resume)

    return fault


def one_after_another(*faults: Fault) -> Fault:
    """Return *faults* as one."""

    async def fault(stack: Stack, load: Load) -> None:
        for each in faults:
            await each(stack, load)

    return fault
