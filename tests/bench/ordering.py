"""How fast one deliverer delivers the backlog of one ordering key, of ten, and of none, to an instant receiver."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from tests.bench.bodies import BATCH_SIZE, NAME, SIGNAL
from tests.bench.progress import reach
from tests.bench.receiving import receiving
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import Stack, await_owed, running, subscribe
from tests.bench.usage import measuring, servers_of

KEYS = {"one": (1, "one key"), "ten": (10, "ten keys"), "none": (0, "no key")}
"""How many ordering keys there are, by row."""
BACKLOG_PER_SECOND = 400


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Measure each in turn, round by round."""
    count = int(BACKLOG_PER_SECOND * bench.seconds)
    for _ in range(bench.rounds):
        for name, (keys, _) in KEYS.items():
            row = f"ordering.{name}"
            if bench.wants(row):
                yield await _deliver(bench, row, keys, count)


async def _deliver(bench: Bench, row: str, keys: int, count: int) -> Sample:
    """Let a deliverer begin with a backlog of *count* signals."""
    async with running(bench, "recorder", "scheduler") as stack, receiving() as receiver:
        await subscribe(stack.client, receiver, ordered=keys > 0)
        await _throw(stack, count, keys)
        await await_owed(stack.client, count)
        async with stack.worker("deliverer") as deliverer:
            first, start = receiver.requests, time.time()
            with measuring({"deliverer": deliverer.process.pid, **servers_of(bench)}) as usage:
                await reach(lambda: receiver.requests, count, every=0.005)
    made = count - first
    return Sample(row=row, value=made / (receiver.last - start), cpu=usage.per(made))


async def _throw(stack: Stack, count: int, keys: int) -> None:
    for start in range(0, count, BATCH_SIZE):
        numbers = range(start, min(start + BATCH_SIZE, count))
        items = [{**SIGNAL, "name": NAME, **({"orderingKey": f"key-{n % keys}"} if keys else {})} for n in numbers]
        await stack.client.post("/v1/signals/batch", {"signals": items}, expect=200)


GROUP = Group(
    name="ordering",
    title="Delivering in order: a backlog, one deliverer process, one receiver that answers at once",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        Row(
            name=f"ordering.{name}",
            what=what,
            unit="deliveries/s",
            baseline="ordering.none" if keys else None,
        )
        for name, (keys, what) in KEYS.items()
    ],
    measure=measure,
)
