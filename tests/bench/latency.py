"""How long a throw takes to its answer, to a tap and to a webhook, at half of what is possible at most.

The load is an open loop: each latency counts from the moment at which the request was due.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from tests.bench.baselines import confirm, hop
from tests.bench.bodies import NAME, NATIVE, TIMED
from tests.bench.delivering import BACKLOG_PER_SECOND, deliver_backlog
from tests.bench.load import Order, post
from tests.bench.pacing import percentile
from tests.bench.programs import run_json
from tests.bench.progress import reach
from tests.bench.receiving import receiving
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import Stack, await_recorded, running, subscribe
from tests.bench.verifying import verify
from tests.support.product import ADMIN_TOKEN

SHARE_OF_MAXIMUM = 0.5
_DUE = re.compile(rb'"due": *([0-9.]+)')


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Measure each in turn, round by round."""
    for _ in range(bench.rounds):
        if bench.wants("latency.answer") or bench.wants("latency.tap"):
            async for sample in answer_and_tap(bench):
                yield sample
        if bench.wants("latency.webhook"):
            async for sample in webhook(bench):
                yield sample


async def answer_and_tap(bench: Bench) -> AsyncIterator[Sample]:
    """Measure from a throw to its answer and to a tap, with a recorder beside; then what RabbitMQ alone takes."""
    async with running(bench, "recorder") as stack:
        fastest = await post(_order(stack, NATIVE, bench.seconds))
        await await_recorded(stack.client, fastest.answered)
        rate = fastest.per_second * SHARE_OF_MAXIMUM
        yield Sample(row="latency.rate", value=rate)
        async with tapping(stack.environment["TRANSPORT_URL"]) as tapped:
            answers = await post(_order(stack, TIMED, bench.seconds, rate=rate))
            await reach(lambda: len(tapped), answers.answered)
        await verify(stack.client, fastest.answered + answers.answered)
    for sample in _percentiles("latency.answer", answers.latencies):
        yield sample
    for sample in _percentiles("latency.tap", tapped):
        yield sample
    assert bench.rabbit is not None
    with bench.rabbit.vhost() as amqp:
        given: Mapping[str, object] = {"url": amqp, "body": NATIVE, "rate": rate}
        published = await run_json(confirm.__name__, {**given, "count": int(rate * bench.seconds)})
        passed = await run_json(hop.__name__, {**given, "seconds": bench.seconds})
    for row, document in (("latency.confirm", published), ("latency.hop", passed)):
        for sample in _percentiles(row, document["latencies"]):
            yield sample


async def webhook(bench: Bench) -> AsyncIterator[Sample]:
    """Measure from a throw to its webhook, at half of the rate at which a deliverer works off a backlog."""
    rate = (await deliver_backlog(bench, int(BACKLOG_PER_SECOND * bench.seconds))).value * SHARE_OF_MAXIMUM
    yield Sample(row="latency.webhook-rate", value=rate)
    async with running(bench, "recorder", "scheduler", "deliverer") as stack, receiving() as receiver:
        await subscribe(stack.client, receiver)
        answers = await post(_order(stack, TIMED, bench.seconds, rate=rate))
        await reach(lambda: len(receiver.taken), answers.answered)
    for sample in _percentiles("latency.webhook", receiver.latencies):
        yield sample


def _order(stack: Stack, body: str, seconds: float, *, rate: float | None = None) -> Order:
    return Order(url=f"{stack.client.url}/v1/signals", body=body, token=ADMIN_TOKEN, seconds=seconds, rate=rate)


def _percentiles(row: str, latencies: list[float]) -> list[Sample]:
    return [
        Sample(row=f"{row}.{name}", value=percentile(latencies, share)) for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


@asynccontextmanager
async def tapping(url: str) -> AsyncIterator[list[float]]:
    """Run a tap for the benchmark's signals, and yield how long (seconds) after it was due each one came."""
    latencies: list[float] = []
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(200)
        queue = await channel.declare_queue("tap", durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind("signals.by-name", NAME)

        async def take(message: AbstractIncomingMessage) -> None:
            if found := _DUE.search(message.body):
                latencies.append(time.time() - float(found[1]))
            await message.ack()

        await queue.consume(take)
        yield latencies


GROUP = Group(
    name="latency",
    title="Latency at half of the highest rate, from when a throw was due",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        Row(name="latency.rate", what="rate of the throws, and of the publishes", unit="signals/s"),
        *(
            Row(
                name=f"latency.{name}.{share}",
                what=f"{what}, {share}",
                unit="ms",
                baseline=baseline and f"latency.{baseline}.{share}",
            )
            for name, what, baseline in (
                ("confirm", "raw aiormq publish until its confirm", None),
                ("hop", "raw aio-pika publish until its consumer", None),
                ("answer", "throw until its answer", "confirm"),
                ("tap", "throw until its tap", "hop"),
            )
            for share in ("p50", "p99")
        ),
        Row(name="latency.webhook-rate", what="rate of the throws to a webhook", unit="signals/s"),
        Row(name="latency.webhook.p50", what="throw until its webhook, p50", unit="ms"),
        Row(name="latency.webhook.p99", what="throw until its webhook, p99", unit="ms"),
    ],
    measure=measure,
)
