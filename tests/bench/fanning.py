"""How long signals take to reach ten thousand subscriptions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

from tests.bench.bodies import SIGNAL
from tests.bench.progress import reach
from tests.bench.receiving import receiving
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import running, subscribe
from tests.support.product import Client

SUBSCRIPTIONS = 10_000
AT_ONCE = (1, 5)
"""How many signals are thrown at once."""


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Throw one signal, then some at once, to the same subscriptions."""
    async with running(bench, "recorder", "scheduler", "deliverer") as stack, receiving() as receiver:
        for _ in range(0, SUBSCRIPTIONS, 50):
            await asyncio.gather(*(subscribe(stack.client, receiver) for _ in range(50)))
        owed = 0
        for signals in AT_ONCE:
            owed += signals * SUBSCRIPTIONS
            start = time.time()
            await asyncio.gather(*(stack.client.post("/v1/signals", SIGNAL) for _ in range(signals)))
            await reach(partial(_matched, stack.client), owed)
            yield Sample(row=f"fanning.{signals}.recorded", value=time.time() - start)
            await reach(receiver.taken.__len__, owed)
            taken = sorted(moment - start for moment in receiver.taken.values() if moment > start)
            yield Sample(row=f"fanning.{signals}.first", value=taken[0])
            yield Sample(row=f"fanning.{signals}.last", value=taken[-1])
            yield Sample(row=f"fanning.{signals}.rate", value=signals * SUBSCRIPTIONS / taken[-1])


async def _matched(client: Client) -> int:
    return int((await client.get("/v1/ledger"))["matched"])


GROUP = Group(
    name="fanning",
    title=f"Fan-out: {SUBSCRIPTIONS:,} webhooks, one recorder, one deliverer",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        Row(name=f"fanning.{signals}.{name}", what=f"{signals} signal{'s' * (signals > 1)} at once: {what}", unit=unit)
        for signals in AT_ONCE
        for name, what, unit in (
            ("recorded", "recorded, with a delivery for each", "s"),
            ("first", "first webhook", "s"),
            ("last", "last webhook", "s"),
            ("rate", "until the last webhook", "deliveries/s"),
        )
    ],
    measure=measure,
)
