"""What a webhook that never answers costs the others."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.bench.bodies import TIMED
from tests.bench.load import Order, post
from tests.bench.pacing import percentile
from tests.bench.progress import reach
from tests.bench.receiving import receiving
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import running, subscribe
from tests.support.product import ADMIN_TOKEN

SUBSCRIBERS = 20
SIGNALS_PER_SECOND = 10
LONGER = 5
"""How many times as long as other loads it lasts."""


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Measure both once: a steady load has thousands of deliveries."""
    for name in ("alone", "beside"):
        if bench.wants(f"isolation.{name}"):
            latencies = await latencies_of(bench, black_hole=name == "beside")
            for row, share in (("p50", 0.5), ("p99", 0.99)):
                yield Sample(row=f"isolation.{name}.{row}", value=percentile(latencies, share))


async def latencies_of(bench: Bench, *, black_hole: bool) -> list[float]:
    """Return how many seconds after its throw was due each webhook came, at a steady load."""
    async with (
        running(bench, "recorder", "scheduler", "deliverer") as stack,
        receiving() as receiver,
        receiving(answers=False) as hole,
    ):
        for _ in range(SUBSCRIBERS):
            await subscribe(stack.client, receiver)
        if black_hole:
            await subscribe(stack.client, hole)
        url, seconds = f"{stack.client.url}/v1/signals", bench.seconds * LONGER
        order = Order(url=url, body=TIMED, token=ADMIN_TOKEN, seconds=seconds, rate=SIGNALS_PER_SECOND)
        answers = await post(order)
        await reach(lambda: len(receiver.taken), SUBSCRIBERS * answers.answered)
        return receiver.latencies


GROUP = Group(
    name="isolation",
    title=f"Isolation: {SUBSCRIBERS} webhooks, {SUBSCRIBERS * SIGNALS_PER_SECOND} deliveries/s, from throw to arrival",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        Row(
            name=f"isolation.{name}.{share}",
            what=f"{what}, {share}",
            unit="ms",
            baseline=f"isolation.alone.{share}" if name == "beside" else None,
        )
        for name, what in (("alone", "these alone"), ("beside", "beside one that never answers"))
        for share in ("p50", "p99")
    ],
    measure=measure,
)
