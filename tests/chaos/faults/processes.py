"""What can befall the product's own processes; of two of a role, chance chooses one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.faults.fault import Fault, needing
from tests.support.product import COMMAND, Process

if TYPE_CHECKING:
    from tests.chaos.stack import Stack

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
STEP_SECONDS = 3600


def _victim(stack: Stack, role: str) -> Process:
    return stack.processes[stack.rng.choice([name for name in stack.processes if name in {role, f"other-{role}"}])]


def kill(role: str, *, seconds: float = 0) -> Fault:
    """Return the fault that kills a process of *role* with ``kill -9``."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        process = _victim(stack, role)
        process.kill()
        await process.process.wait()
        yield
        await process.launch()

    return Fault(name=f"SIGKILL {role}", inflict=inflict, seconds=seconds)


def suspend(role: str, *, seconds: float) -> Fault:
    """Return the fault in which a process of *role* hangs."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        process = _victim(stack, role)
        process.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.process.send_signal(signal.SIGCONT)

    name = f"SIGSTOP {seconds:g} s {role}"
    return Fault(name=name, inflict=inflict, seconds=seconds, halts=True)


def replace(role: str) -> Fault:
    """Return the fault that stops a process of *role* in good order, while no request goes to it."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        process = _victim(stack, role)
        async with _out_of_service(stack, process):
            status = await process.stop()
            if status:
                stack.violations.append(f"{role} ended with {status} on SIGTERM")
            yield
            await process.start()

    return Fault(name=f"SIGTERM {role}", inflict=inflict)


def exchange(process: str, version: str, command: Sequence[str]) -> Fault:
    """Return what replaces a process, by its name in the stack, by one of another *version*, which *command* runs."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        await _replace(stack, stack.processes[process], command)
        yield

    return Fault(name=f"{version} {process}", inflict=inflict)


def mistake_password(role: str, *, seconds: float) -> Fault:
    """Return the fault in which a process of *role* is started with a wrong password for PostgreSQL."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        process = _victim(stack, role)
        async with _out_of_service(stack, process):
            await process.stop()
            await process.launch(STORE_URL=stack.postgres.url_with("wrong"))
            yield
            process.kill()
            await process.process.wait()
            await process.start()

    return Fault(name=f"wrong password {role}", inflict=inflict, seconds=seconds, needs=needing("postgres"))


def step_clock(role: str, *, seconds: float) -> Fault:
    """Return the fault in which the clock of a process of *role* jumps an hour forth, and back at its end."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        process, offset = _victim(stack, role), stack.directory / f"clock-{role}"
        offset.write_text("+0")
        await _replace(stack, process, command=_faked(offset))
        offset.write_text(f"+{STEP_SECONDS}")
        try:
            yield
        finally:
            offset.write_text("+0")
            await asyncio.sleep(2)  # it lives to see that
            await _replace(stack, process)

    return Fault(name=f"clock step {role}", inflict=inflict, seconds=seconds, needs=needing("clock"))


def _faked(offset: Path) -> list[str]:
    """Return the command whose clock is so far off as *offset* says at any moment."""
    return [
        "env",
        f"LD_PRELOAD={FAKETIME}",
        f"FAKETIME_TIMESTAMP_FILE={offset}",
        "FAKETIME_CACHE_DURATION=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        *COMMAND,
    ]


@asynccontextmanager
async def _out_of_service(stack: Stack, process: Process) -> AsyncIterator[None]:
    """Keep the load away from *process*, if it is a gateway, until the block is left."""
    serving = process.url in stack.gateways
    stack.gateways.discard(process.url)
    try:
        yield
    finally:
        if serving:
            stack.gateways.add(process.url)


async def _replace(stack: Stack, process: Process, command: Sequence[str] | None = None) -> None:
    """Stop a process in good order, and start it again with another *command*."""
    async with _out_of_service(stack, process):
        await process.stop()
        await process.launch(command=command)
        await process.await_start()


_ROLES = ("gateway", "recorder", "deliverer", "scheduler")

FAULTS = [
    *(kill(role) for role in _ROLES),
    *(suspend(role, seconds=seconds) for seconds in (5, 30) for role in _ROLES),
    *(replace(role) for role in _ROLES),
    *(mistake_password(role, seconds=8) for role in ("recorder", "deliverer", "gateway")),
    *(step_clock(role, seconds=8) for role in ("recorder", "deliverer", "scheduler", "gateway")),
]
