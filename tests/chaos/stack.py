"""The product as a production would run it, on servers of its own, and the experiment that all chaos is."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from yarl import URL

from broker.health import MISSING
from tests.chaos.faults.fault import Need
from tests.chaos.faults.processes import FAKETIME
from tests.chaos.postgres import Postgres
from tests.support.eventually import eventually
from tests.support.namespaces import Namespaces
from tests.support.product import Process
from tests.support.proxy import Link
from tests.support.rabbitmq_servers import Rabbit, vhost_of
from tests.support.receiver import Receiver, receiver

SETTINGS = {"RESCUE_AFTER_SECONDS": "2", "WEBHOOK_TIMEOUT_SECONDS": "3", "LOG_LEVEL": "info"}
ROLES = {
    "gateway": ("gateway",),
    "other-gateway": ("gateway",),
    "recorder": ("worker", "recorder"),
    "deliverer": ("worker", "deliverer"),
    "scheduler": ("worker", "scheduler"),
}
TWO_OF_EACH = {**ROLES, "other-recorder": ROLES["recorder"], "other-deliverer": ROLES["deliverer"]}


@dataclass(frozen=True, kw_only=True)
class Servers:
    """What a stack runs on, beside PostgreSQL.

    Args:
        vhost: The URL of its vhost on a node, past all links.
        nodes: The nodes of RabbitMQ.
        network: Where they run, if ways between them can be blocked.
        links: The ways from the product to each node, if they lead through us.
    """

    vhost: str = ""
    nodes: Sequence[Rabbit] = ()
    network: Namespaces | None = None
    links: Sequence[Link] = ()

    @property
    def url(self) -> str:
        """Where the product finds RabbitMQ."""
        if not self.links:
            return self.vhost
        hosts = ",".join(f"{link.host}:{link.port}" for link in self.links)
        url = URL(self.vhost)
        return f"amqp://{url.user}:{url.password}@{hosts}/{vhost_of(self.vhost)}"


@dataclass
class Stack:
    """Running processes by role; every one is expected to run and to be ready whenever no fault is going on.

    Args:
        processes: The processes; the names of gateways contain ``gateway``, or ``run`` is the only one.
        receiver: Takes the webhooks.
        rng: Decides what is left to chance.
        directory: Where files may be left.
        servers: What it runs on.
        database: Its PostgreSQL, if faults may befall it.
    """

    processes: Mapping[str, Process]
    receiver: Receiver
    rng: random.Random
    directory: Path
    servers: Servers = field(default_factory=Servers)
    database: Postgres | None = None
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self._urls()[0]
        self.gateways = set(self._urls())
        """The gateways that are thrown at."""

    def _urls(self) -> list[str]:
        return [process.url for role, process in self.processes.items() if role in {"gateway", "other-gateway", "run"}]

    @property
    def vhost(self) -> str:
        """The URL of its vhost, past all links."""
        return self.servers.vhost

    @property
    def nodes(self) -> Sequence[Rabbit]:
        """The nodes of its RabbitMQ."""
        return self.servers.nodes

    @property
    def links(self) -> Sequence[Link]:
        """The ways to each node."""
        return self.servers.links

    def busy_node(self) -> int:
        """Return the number of the node that the product has the most connections to, or of any."""
        connections = [link.connections for link in self.links] or [0] * len(self.nodes)
        return self.rng.choice([number for number, count in enumerate(connections) if count == max(connections)])

    @property
    def network(self) -> Namespaces | None:
        """Where the nodes run."""
        return self.servers.network

    @property
    def postgres(self) -> Postgres:
        """Its PostgreSQL."""
        assert self.database is not None
        return self.database

    @property
    def has(self) -> frozenset[Need]:
        """What faults may need."""
        there: dict[Need, object] = {
            "queues": self.nodes,
            "cluster": len(self.nodes) > 2,
            "network": self.network and len(self.nodes) > 2,
            "links": self.links,
            "postgres": self.database,
            "disk": self.database and self.database.can_fill_up,
            "clock": FAKETIME,
        }
        return frozenset(need for need, it in there.items() if it)

    async def answers(self, process: Process) -> bool:
        """Return whether a process is alive, and can do all of its work."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            for path in ("/livez", "/readyz"):
                try:
                    async with session.get(process.url + path) as response:
                        if response.status != 200 or MISSING in response.headers:
                            return False
                except (aiohttp.ClientError, TimeoutError):
                    return False
        return True

    async def ready(self) -> bool:
        """Return whether every process is alive and ready; start again what ended by itself."""
        for role, process in self.processes.items():
            if (status := process.process.returncode) is not None:
                self.violations.append(f"{role} ended with {status}")
                await process.start()
        return all(await asyncio.gather(*map(self.answers, self.processes.values())))

    async def start_over(self) -> None:
        """Kill and start every process, and wait until all are ready."""
        for process in self.processes.values():
            process.kill()
            await process.process.wait()
        await asyncio.gather(*(process.start() for process in self.processes.values()))
        self.gateways.update(self._urls())
        await eventually(self.ready)


@asynccontextmanager
async def stack_of(
    roles: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    directory: Path,
    rng: random.Random,
    *,
    servers: Servers | None = None,
    postgres: Postgres | None = None,
    command: Sequence[str] | None = None,
) -> AsyncIterator[Stack]:
    """Run *roles* until the block is left, as *command* runs them; the logs are in *directory*."""
    settings = SETTINGS | dict(environment)
    processes = {
        role: Process(*arguments, environment=settings, log=directory / f"{role}.log", command=command)
        for role, arguments in roles.items()
    }
    async with AsyncExitStack() as stack:
        webhooks = await stack.enter_async_context(receiver())
        starts = await asyncio.gather(*(process.start() for process in processes.values()), return_exceptions=True)
        for process in processes.values():
            stack.push_async_exit(process)
        for error in starts:
            if error is not None:
                raise error
        yield Stack(processes, webhooks, rng, directory, servers or Servers(), postgres)


@asynccontextmanager
async def rabbitmq_stack(
    postgres: Postgres,
    nodes: Sequence[Rabbit],
    directory: Path,
    rng: random.Random,
    roles: Mapping[str, Sequence[str]] = ROLES,
    *,
    network: Namespaces | None = None,
    linked: bool = False,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Stack]:
    """Run *roles* on *postgres* and a vhost of *nodes*, through links that can be cut if it is *linked*."""
    with nodes[0].vhost() as vhost:
        async with AsyncExitStack() as stack:
            links = [await stack.enter_async_context(Link(node.address)) for node in nodes] if linked else []
            servers = Servers(vhost=vhost, nodes=nodes, network=network, links=links)
            environment = {"STORE_URL": postgres.url, "TRANSPORT_URL": servers.url, **(settings or {})}
            yield await stack.enter_async_context(
                stack_of(roles, environment, directory, rng, servers=servers, postgres=postgres)
            )


def make_rng() -> random.Random:
    """Return the source of chance, seeded by ``CHAOS_SEED`` if that is set; its seed is printed."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"CHAOS_SEED={seed}")
    return random.Random(seed)
