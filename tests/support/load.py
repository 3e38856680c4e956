"""A load of throws over HTTP that retries nothing: it notes what each throw was answered, and what was not."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp

from tests.support.product import ADMIN_TOKEN

PATIENCE = aiohttp.ClientTimeout(total=20)

KINDS: dict[str, dict[str, object]] = {
    "broadcast": {"name": "placed"},
    "cancelled": {"name": "cancelled"},
    "tenant": {"name": "placed", "tenantId": "a"},
    "untenanted": {"name": "placed", "withoutTenantId": True},
    "execution": {"name": "placed", "executionId": "e"},
    "keyed": {"name": "keyed"},
}
"""What is thrown, in turn; the names get a prefix of the load's own."""
KEYS, AMOUNTS = 5, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Throw:
    """One throw and its answer.

    Args:
        number: What its payload holds; unique within the load.
        kind: Which of `KINDS`.
        begun: When it was sent (monotonic seconds).
        ended: When it was answered, or given up.
        status: The answer's HTTP status; None if there was no answer.
        retry_after: The answer's ``Retry-After``.
        id: The signal's id, if the answer was a 2xx.
    """

    number: int
    kind: str
    begun: float
    ended: float
    status: int | None = None
    retry_after: str | None = None
    id: int | None = None

    @property
    def amount(self) -> int:
        """What filters ask for."""
        return self.number % AMOUNTS

    @property
    def key(self) -> str | None:
        """Its ordering key, if it has one."""
        return f"key-{self.number // len(KINDS) % KEYS}" if self.kind == "keyed" else None

    @property
    def accepted(self) -> bool:
        """Whether it was answered with a 2xx."""
        return self.id is not None


class Load:
    """What `load` yields.

    Args:
        prefix: Begins the names of its signals.
        gateways: URLs to throw at, which may change meanwhile.
        rng: Chooses among them.
    """

    def __init__(self, prefix: str, gateways: Collection[str], rng: random.Random) -> None:
        self.prefix = prefix
        self.gateways = gateways
        self.throws: list[Throw] = []
        self._rng = rng

    @property
    def accepted(self) -> dict[int, Throw]:
        """The accepted throws by their signals' ids."""
        return {throw.id: throw for throw in self.throws if throw.id is not None}

    def name(self, kind: str) -> str:
        """Return the name that signals of *kind* have."""
        return f"{self.prefix}.{KINDS[kind]['name']}"

    async def _run(self, rate: float, stopping: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        connector = aiohttp.TCPConnector(limit=0)  # nobody waits for another one's connection
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers, timeout=PATIENCE) as session,
            asyncio.TaskGroup() as group,
        ):
            for number, kind in enumerate(itertools.cycle(KINDS)):
                if stopping.is_set():
                    break
                group.create_task(self._throw(session, number, kind))
                due += 1 / rate
                await asyncio.sleep(due - loop.time())

    async def _throw(self, session: aiohttp.ClientSession, number: int, kind: str) -> None:
        gateway = self._rng.choice(sorted(self.gateways))
        begun = time.monotonic()
        throw = Throw(number=number, kind=kind, begun=begun, ended=begun)
        document = KINDS[kind] | {"name": self.name(kind), "payload": {"number": number, "amount": throw.amount}}
        if throw.key is not None:
            document["orderingKey"] = f"{self.prefix}-{throw.key}"
        status = retry_after = signal_id = None
        try:
            async with session.post(f"{gateway}/v1/signals", json=document) as response:
                body = await response.json(content_type=None)
                status, retry_after = response.status, response.headers.get("Retry-After")
                signal_id = body["id"] if response.ok else None
        except (aiohttp.ClientError, TimeoutError):
            pass
        ended = time.monotonic()
        self.throws.append(replace(throw, ended=ended, status=status, retry_after=retry_after, id=signal_id))


@asynccontextmanager
async def load(prefix: str, gateways: Collection[str], *, rate: float, rng: random.Random) -> AsyncIterator[Load]:
    """Throw *rate* signals a second, whatever becomes of them, until the block is left; then wait for every answer."""
    running, stopping = Load(prefix, gateways, rng), asyncio.Event()
    task = asyncio.create_task(running._run(rate, stopping))  # noqa: SLF001
    try:
        yield running
    finally:
        stopping.set()
        await task
