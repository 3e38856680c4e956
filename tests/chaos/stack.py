"""The product as a production would run it, and what can befall it: two gateways and one of each worker."""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from tests.chaos.postgres import Postgres
from tests.support.eventually import eventually
from tests.support.ledger import Reconciliation, reconcile, settled, subscribe
from tests.support.load import Load, load
from tests.support.product import Client, Process, client_of
from tests.support.rabbitmq_servers import Rabbit
from tests.support.receiver import Receiver, receiver

SETTINGS = {"RESCUE_AFTER_SECONDS": "2", "WEBHOOK_TIMEOUT_SECONDS": "3", "LOG_LEVEL": "info"}
ROLES = {
    "gateway": ("gateway",),
    "other-gateway": ("gateway",),
    "recorder": ("worker", "recorder"),
    "deliverer": ("worker", "deliverer"),
    "scheduler": ("worker", "scheduler"),
}

Fault = Callable[["Stack", Load], Awaitable[None]]


class Stack:
    """Running processes by role; every one is expected to run and to be ready whenever no fault is going on.

    Args:
        processes: The processes; the names of gateways contain ``gateway``, or ``run`` is the only one.
        receiver: Takes the webhooks.
        rng: Decides what is left to chance.
    """

    def __init__(self, processes: Mapping[str, Process], receiver: Receiver, rng: random.Random) -> None:
        self.processes = processes
        self.receiver = receiver
        self.rng = rng

    @property
    def gateways(self) -> list[str]:
        """The gateways' URLs."""
        return [process.url for role, process in self.processes.items() if role in {"gateway", "other-gateway", "run"}]

    async def pause(self) -> None:
        """Let a random moment pass."""
        await asyncio.sleep(self.rng.uniform(0.1, 0.8))

    async def ready(self) -> bool:
        """Return whether every process runs, is alive and ready."""
        async with aiohttp.ClientSession() as session:
            for role, process in self.processes.items():
                assert process.process.returncode is None, f"{role} ended with {process.process.returncode}"
                for path in ("/livez", "/readyz"):
                    with suppress(aiohttp.ClientError, TimeoutError):
                        async with session.get(process.url + path, timeout=aiohttp.ClientTimeout(total=5)) as response:
                            if response.status == 200:
                                continue
                    return False
        return True

    async def survives(
        self, fault: Fault, *, rate: float = 40, after: float = 0.5, refusals: int = 0, within: float = 60
    ) -> Reconciliation:
        """Inflict *fault* under load, and compare the books once all is settled.

        The books must balance all the while. Everything must be ready by itself *within* so many seconds after the
        fault, take every throw of *after* seconds more, and be settled within as many seconds again.
        """
        async with client_of(self.gateways[0]) as client:
            prefix = f"chaos-{uuid.uuid4().hex[:8]}"
            audience = await subscribe(client, self.receiver, prefix, refusals=refusals)
            async with load(prefix, self.gateways, rate=rate, rng=self.rng) as running, balanced(client):
                await fault(self, running)
                over = time.monotonic()
                await eventually(self.ready, within=within)
                ready = time.monotonic()
                await asyncio.sleep(after)
            await eventually(lambda: settled(client, running), within=within, every=0.2)
            reconciliation = await reconcile(client, running, audience, self.receiver, ready=ready)
        seconds = time.monotonic() - ready
        print(f"{reconciliation}; ready {ready - over:.1f} s after the fault, settled {seconds:.1f} s later")
        return reconciliation


@asynccontextmanager
async def balanced(client: Client) -> AsyncIterator[None]:
    """Ask for the books again and again; they must balance whenever they are answered."""

    async def watch() -> None:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                status, _, ledger = await client.request("GET", "/v1/ledger", timeout=aiohttp.ClientTimeout(total=15))
                assert status in {200, 503}, (status, ledger)
                assert status == 503 or ledger["unaccounted"] == 0, ledger
            await asyncio.sleep(0.25)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def stack_of(
    roles: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    directory: Path,
    webhooks: Receiver,
    rng: random.Random,
) -> AsyncIterator[Stack]:
    """Run *roles* until the block is left."""
    processes = {
        role: Process(*command, environment=SETTINGS | dict(environment), log=directory / f"{role}.log")
        for role, command in roles.items()
    }
    async with AsyncExitStack() as stack:
        starts = await asyncio.gather(*(process.start() for process in processes.values()), return_exceptions=True)
        for process in processes.values():
            stack.push_async_exit(process)
        for error in starts:
            if error is not None:
                raise error
        yield Stack(processes, webhooks, rng)


@asynccontextmanager
async def rabbitmq_stack(
    postgres: Postgres,
    rabbitmq: Rabbit,
    directory: Path,
    rng: random.Random,
    roles: Mapping[str, Sequence[str]] = ROLES,
) -> AsyncIterator[Stack]:
    """Run *roles* on *postgres* and a vhost of *rabbitmq*; the logs are in *directory*."""
    with rabbitmq.vhost() as url:
        environment = {"STORE_URL": postgres.url, "TRANSPORT_URL": url}
        async with receiver() as webhooks, stack_of(roles, environment, directory, webhooks, rng) as stack:
            yield stack


def make_rng() -> random.Random:
    """Return the source of chance, seeded by ``CHAOS_SEED`` if that is set; its seed is printed."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"CHAOS_SEED={seed}")
    return random.Random(seed)
