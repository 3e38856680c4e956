"""What each part that there is one of does at most if nothing else limits it: for one client, and for several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from broker.store.postgres.database import Database
from broker.topology import ATTEMPT
from tests.bench import alone
from tests.bench.baselines import unnest
from tests.bench.bodies import TEXT
from tests.bench.programs import run_json
from tests.bench.receiving import receiving
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import await_owed, running, subscribe, throw_backlog
from tests.support.postgres import fresh_database
from tests.support.rabbitmq import on_channel

CLIENTS = (1, 2, 4)
ROWS_PER_SECOND = 20_000
"""How many rows each client inserts, for each second that a load lasts."""
DUE_PER_SECOND = 2000
"""How many deliveries are due, for each second that a load lasts."""
_PARK = "UPDATE deliveries SET state = 'parked', due_at = now(), reason = 'retry'"
PARTS = {
    "numbering": ("numbers, 1 at a time: the lock of the numbering", "numbers/s"),
    "numbering-batches": ("numbers, 100 at a time: the lock of the numbering", "numbers/s"),
    "positions": ("signals inserted, 250 at a time: the lock of the positions", "signals/s"),
    "queue": ("messages of 1 KB, each confirmed: one quorum queue of one node", "messages/s"),
    "primary": ("rows of 1 KB inserted, 250 at a time: the primary", "rows/s"),
}


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Measure each part with one client and with several ones, round by round."""
    for _ in range(bench.rounds):
        for part in PARTS:
            for clients in CLIENTS:
                if bench.wants(name := f"ceilings.{part}.{clients}"):
                    yield Sample(row=name, value=await _measure_part(bench, part, clients))
        if bench.wants("ceilings.releases"):
            yield await release(bench)


async def _measure_part(bench: Bench, part: str, clients: int) -> float:
    """Return how many a second several clients of a part do together, each a process of its own."""
    assert bench.postgres is not None
    assert bench.rabbit is not None
    async with AsyncExitStack() as exits:
        if part == "primary":  # which has databases for all
            count = int(ROWS_PER_SECOND * bench.seconds)
            urls = [await exits.enter_async_context(fresh_database(bench.postgres)) for _ in range(clients)]
            given = [{"url": url, "body": TEXT, "count": count} for url in urls]
            done = await asyncio.gather(*(run_json(unnest.__name__, one) for one in given))
            return sum(count / float(one["elapsed"]) for one in done)
        if part == "queue":
            url = exits.enter_context(bench.rabbit.vhost())
        else:
            url = await exits.enter_async_context(fresh_database(bench.postgres))
        orders = [{"part": part, "url": url, "seconds": bench.seconds, "client": client} for client in range(clients)]
        done = await asyncio.gather(*(run_json(alone.__name__, order) for order in orders))
        return float(sum(one["rate"] for one in done))


async def release(bench: Bench) -> Sample:
    """Let one scheduler release deliveries that are all due, while their attempts are taken from the queue at once."""
    async with (
        running(bench) as stack,
        receiving() as receiver,
        Database(stack.environment["STORE_URL"], size=1) as database,
    ):
        await subscribe(stack.client, receiver)
        async with stack.worker("recorder"):
            owed = await throw_backlog(stack.client, int(DUE_PER_SECOND * bench.seconds))
            await await_owed(stack.client, owed)
        url = stack.environment["TRANSPORT_URL"]
        await on_channel(url, lambda channel: channel.queue_purge(ATTEMPT))
        await database.execute(_PARK)
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(run_json(alone.__name__, {"part": "releases", "url": url, "count": owed}))
            async with stack.worker("scheduler"):
                done = await taking
    return Sample(row="ceilings.releases", value=done["rate"])


GROUP = Group(
    name="ceilings",
    title="What each part that there is one of does at most",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        *(
            Row(
                name=f"ceilings.{part}.{clients}",
                what=f"{what}; {clients} {'process' if clients == 1 else 'processes'}",
                unit=unit,
                baseline=None if clients == 1 else f"ceilings.{part}.1",
            )
            for part, (what, unit) in PARTS.items()
            for clients in CLIENTS
        ),
        Row(
            name="ceilings.releases",
            what="deliveries released that are all due: one scheduler",
            unit="deliveries/s",
        ),
    ],
    measure=measure,
    apart=True,
)
