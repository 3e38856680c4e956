"""Deliveries by the running product to a server that is reloaded and restarted meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from broker.deliveries import Attempt
from broker.store.postgres.database import Database
from broker.store.rows import read_attempt, read_delivery
from tests.compat.servers.books import Books
from tests.compat.servers.kinds import BACKEND, Kind
from tests.compat.servers.server import Server
from tests.support.eventually import eventually
from tests.support.product import Client

SCHEDULE = [1] * 40
"""So often each delivery is attempted again, after up to a second: no outage here lasts longer."""
BATCH = 900_000
"""How many bytes of signals a batch may have; the gateway takes a mebibyte."""
BURSTS = 5
"""In how many bursts a second's signals are thrown; between them connections are idle."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a server has to bear.

    Args:
        deliveries: How many there are.
        rate: How many a second.
        size: How many bytes each has, and some more.
        every: How many seconds after a disturbance the next one follows, on average.
        restarts: Every which disturbance is a restart, and no reload; every other of these, from the first, is a kill.
        patience: For how many seconds the last delivery may take.
    """

    deliveries: int = 10_000
    rate: int = 250
    size: int = 0
    every: float = 1
    restarts: int = 5
    patience: float = 120


@asynccontextmanager
async def running(kind: Kind, directory: Path) -> AsyncIterator[Server]:
    """Run a server of *kind* in *directory*, with what it passes requests on to, until the block is left."""
    if not kind.passes_on:
        async with Server(kind, directory / "server") as server:
            yield server
        return
    async with Server(BACKEND, directory / "backend") as backend, Server(kind, directory / "server", backend) as server:
        yield server


async def deliver(client: Client, database: Database, server: Server, load: Load) -> Books:
    """Deliver to *server* while it is disturbed, and return what everybody noted once all is settled."""
    subscription = await client.post(
        "/v1/subscriptions",
        {
            "name": "receivers",
            "target": {"kind": "webhook", "url": server.url},
            "retry": {"schedule": SCHEDULE},
            "timeoutSeconds": 10,
        },
    )
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_disturb(server, load, over))
        signals = await _throw(client, load)
        over.set()
    with suppress(AssertionError):  # the books tell what is not settled
        await eventually(lambda: _are_settled(database, subscription["id"], load), within=load.patience, every=0.1)
    return await _read(database, subscription["id"], signals, server)


async def _disturb(server: Server, load: Load, over: asyncio.Event) -> None:
    """Reload and restart *server*, at least once each, until *over* is set."""
    rng = random.Random(7)
    for number in itertools.count(1):
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), load.every * rng.uniform(0.5, 1.5))
        if over.is_set() and server.restarts:
            return
        if number % load.restarts:
            await server.reload()
        else:
            await server.restart(kill=number % (2 * load.restarts) == load.restarts)


async def _throw(client: Client, load: Load) -> list[int]:
    """Throw at the rate of *load* and return the signals' ids."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    ids: list[int] = []
    signal = {"name": "receivers", "payload": "x" * load.size}
    in_batch = max(1, BATCH // len(json.dumps(signal)))
    while len(ids) < load.deliveries:
        burst = [signal] * min(load.rate // BURSTS, load.deliveries - len(ids))
        for start in range(0, len(burst), in_batch):
            answer = await client.post("/v1/signals/batch", {"signals": burst[start : start + in_batch]})
            ids += [result["id"] for result in answer["results"]]
        due += 1 / BURSTS
        await asyncio.sleep(due - loop.time())
    return ids


async def _are_settled(database: Database, subscription_id: int, load: Load) -> bool:
    settled = await database.fetchval(
        "SELECT count(*) FROM deliveries WHERE subscription_id = $1 AND state IN ('delivered', 'dead', 'cancelled')",
        subscription_id,
    )
    return int(settled) >= load.deliveries


async def _read(database: Database, subscription_id: int, signals: Sequence[int], server: Server) -> Books:
    deliveries = await database.fetch("SELECT * FROM deliveries WHERE subscription_id = $1", subscription_id)
    rows = await database.fetch(
        "SELECT * FROM attempts WHERE subscription_id = $1 ORDER BY signal_id, number", subscription_id
    )
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for row in rows:
        attempts[f"{row['signal_id']}-{subscription_id}"].append(read_attempt(row))
    return Books(
        owed=[f"{signal_id}-{subscription_id}" for signal_id in signals],
        states={f"{row['signal_id']}-{subscription_id}": read_delivery(row).state for row in deliveries},
        attempts=attempts,
        requests=server.requests(),
    )
