"""The product as a production would run it, on servers of its own, and the experiment that all chaos is."""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import aiohttp
from yarl import URL

from tests.chaos.faults.fault import Fault, Need
from tests.chaos.faults.processes import FAKETIME
from tests.chaos.postgres import Postgres
from tests.support.audience import SCOPES, subscribe
from tests.support.books import Reconciliation
from tests.support.eventually import eventually
from tests.support.ledger import reconcile, settled
from tests.support.load import Load, Throw, load
from tests.support.namespaces import Namespaces
from tests.support.product import Client, Process, client_of
from tests.support.proxy import Link
from tests.support.rabbitmq_servers import Rabbit, vhost_of
from tests.support.receiver import Receiver, receiver

CALM_LOOKS = 3
"""How often all must look settled: what was refused may still be recorded, by a recorder that holds it."""

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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of faults under load.

    Args:
        faults: Their names.
        lasted: Seconds from the beginning of the first to the end of the last.
        outage: The longest time (seconds) in which no throw was accepted.
        ready: Seconds from their end until every process was ready; None: they were not in time.
        settled: Seconds from the end of the load until all was delivered; None: it was not in time.
        books: The comparison of the books.
        violations: What must not be.
    """

    faults: Sequence[str]
    lasted: float
    outage: float
    ready: float | None
    settled: float | None
    books: Reconciliation
    violations: Sequence[str]

    def __str__(self) -> str:
        ready = "not ready in time" if self.ready is None else f"ready after {self.ready:.1f} s"
        settled = "not settled in time" if self.settled is None else f"settled {self.settled:.1f} s later"
        return (
            f"{' | '.join(self.faults)} ({self.lasted:.1f} s): {self.books}; {self.outage:.1f} s without accepted"
            f" throws, {ready}, {settled}; {len(self.violations)} violations"
        )


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
        """Return whether a process is alive and ready."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            for path in ("/livez", "/readyz"):
                try:
                    async with session.get(process.url + path) as response:
                        if response.status != 200:
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

    async def survives(
        self,
        *faults: Fault,
        rate: float = 40,
        after: float = 0.5,
        throws: int = 0,
        audience: Collection[str] = SCOPES,
        refusals: int = 0,
        within: float = 60,
        ready_within: float = 60,
    ) -> Outcome:
        """Inflict *faults* under load, one after the other, and compare the books once all is settled.

        Args:
            faults: What befalls the stack.
            rate: Throws per second.
            after: Seconds in which every throw must be accepted once all is ready again.
            throws: How many throws there must be at least.
            audience: The subscribers.
            refusals: How many webhooks each of them refuses at first.
            within: Seconds in which all must be settled, and that it is waited for readiness.
            ready_within: Seconds after the faults in which all must be ready by itself.
        """
        self.violations = []
        prefix = f"chaos-{uuid.uuid4().hex[:8]}"
        async with client_of(self.url) as client:
            before = await client.get("/v1/ledger")
            listeners = await subscribe(
                client,
                self.receiver,
                prefix,
                audience,
                refusals=refusals,
                vhost=self.vhost if "queue" in audience else "",
            )
            async with load(prefix, self.gateways, rate=rate, rng=self.rng) as running, self._balanced(client, before):
                begun = time.monotonic()
                for fault in faults:
                    await asyncio.sleep(self.rng.uniform(0.1, 0.8))
                    await self._befall(fault)
                over = time.monotonic()
                ready = await self._ready_again(ready_within, within)
                await asyncio.sleep(after)
                await eventually(lambda: len(running.throws) >= throws, within=60 + throws / rate)
            end = time.monotonic()
            settled_after = await self._settled_again(client, running, within)
            books = await reconcile(
                client,
                running,
                listeners,
                self.receiver,
                before=before,
                ready=over + ready if ready is not None else end,
                slowest=max(fault.slowest for fault in faults),
            )
            await listeners.leave(client)
            self.receiver.requests.clear()
        return Outcome(
            faults=[fault.name for fault in faults],
            lasted=over - begun,
            outage=longest_outage(running.throws, begun, end),
            ready=ready,
            settled=settled_after,
            books=books,
            violations=[*self.violations, *books.violations],
        )

    async def _befall(self, fault: Fault) -> None:
        """Inflict *fault*; that it could not be inflicted or taken away is a violation, too."""
        try:
            await fault.befall(self)
        except Exception as error:  # noqa: BLE001  (of any tool that it uses)
            self.violations.append(f"{fault.name} failed: {error!r}")

    async def _ready_again(self, ready_within: float, within: float) -> float | None:
        """Return how many seconds it took until every process was ready; if it took too long, start them over."""
        begun = time.monotonic()
        try:
            await eventually(self.ready, within=max(ready_within, within))
        except AssertionError:
            self.violations.append(f"not ready within {max(ready_within, within):g} s")
            await self.start_over()
            return None
        seconds = time.monotonic() - begun
        if seconds > ready_within:
            self.violations.append(f"ready after {seconds:.1f} s only")
        return seconds

    async def _settled_again(self, client: Client, running: Load, within: float) -> float | None:
        """Return how many seconds it took until all was settled; if it took too long, start every process over."""
        begun = time.monotonic()
        try:
            for _ in range(CALM_LOOKS):
                await eventually(lambda: settled(client, running), within=within, every=0.3)
        except AssertionError:
            self.violations.append(f"not settled within {within:g} s")
            await self.start_over()
            return None
        return time.monotonic() - begun

    @asynccontextmanager
    async def _balanced(self, client: Client, before: Mapping[str, int]) -> AsyncIterator[None]:
        """Ask for the books again and again; they must balance whenever they are answered."""

        async def watch() -> None:
            while True:
                with suppress(aiohttp.ClientError, TimeoutError):
                    timeout = aiohttp.ClientTimeout(total=15)
                    status, _, ledger = await client.request("GET", "/v1/ledger", timeout=timeout)
                    if status not in {200, 503}:
                        self.violations.append(f"the ledger was answered {status}: {ledger}")
                    elif status == 200 and ledger["unaccounted"] != before["unaccounted"]:
                        self.violations.append(f"the books do not balance: {ledger}")
                await asyncio.sleep(0.25)

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def longest_outage(throws: Sequence[Throw], begun: float, end: float) -> float:
    """Return the longest time (seconds) between *begun* and *end* in which no throw was accepted."""
    moments = sorted(throw.ended for throw in throws if throw.accepted and begun <= throw.ended <= end)
    return max(later - earlier for earlier, later in pairwise([begun, *moments, end]))


@asynccontextmanager
async def stack_of(
    roles: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    directory: Path,
    rng: random.Random,
    *,
    servers: Servers | None = None,
    postgres: Postgres | None = None,
) -> AsyncIterator[Stack]:
    """Run *roles* until the block is left; the logs are in *directory*."""
    processes = {
        role: Process(*command, environment=SETTINGS | dict(environment), log=directory / f"{role}.log")
        for role, command in roles.items()
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
