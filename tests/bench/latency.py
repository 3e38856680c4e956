"""How long a throw takes to its answer, to a tap and to a webhook, at half of what is possible at most.

The load is an open loop: each latency counts from the moment at which the request was due.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from tests.bench.baselines import confirm, hop
from tests.bench.baselines import running as running_baseline
from tests.bench.bodies import NAME, NATIVE, TIMED
from tests.bench.delivering import BACKLOG_PER_SECOND, deliver_backlog
from tests.bench.load import Answers, Order, post
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
        if bench.wants("latency.answer") or bench.wants("latency.plain"):
            async for sample in answer(bench):
                yield sample
        if bench.wants("latency.tap"):
            async for sample in tap(bench):
                yield sample
        if bench.wants("latency.webhook"):
            async for sample in webhook(bench):
                yield sample


async def answer(bench: Bench) -> AsyncIterator[Sample]:
    """Measure from a throw to its answer, with a recorder beside; then what others take for the same."""
    async with running(bench, "recorder") as stack:
        rate, answers, _ = await _at_half_rate(bench, stack)
    yield Sample(row="latency.rate", value=rate)
    for sample in _percentiles("latency.answer", answers.latencies):
        yield sample
    assert bench.rabbit is not None
    with bench.rabbit.vhost() as amqp:
        async with running_baseline("plain", amqp) as plain:
            plainly = await post(Order(url=plain.url, body=NATIVE, seconds=bench.seconds, rate=rate))
        given = {"url": amqp, "body": NATIVE, "rate": rate, "count": int(rate * bench.seconds)}
        published = await run_json(confirm.__name__, given)
    for row, latencies in (("latency.plain", plainly.latencies), ("latency.confirm", published["latencies"])):
        for sample in _percentiles(row, latencies):
            yield sample


async def tap(bench: Bench) -> AsyncIterator[Sample]:
    """Measure from a throw to a tap, with a recorder beside; then what RabbitMQ alone takes."""
    async with (
        running(bench, "recorder") as stack,
        tapping(stack.environment["TRANSPORT_URL"]) as tapped,
    ):
        rate, answers, thrown = await _at_half_rate(bench, stack)
        await reach(lambda: len(tapped), thrown)
    yield Sample(row="latency.tap-rate", value=rate)
    for sample in _percentiles("latency.tap", tapped[-answers.answered :]):
        yield sample
    assert bench.rabbit is not None
    with bench.rabbit.vhost() as amqp:
        passed = await run_json(hop.__name__, {"url": amqp, "body": NATIVE, "rate": rate, "seconds": bench.seconds})
    for sample in _percentiles("latency.hop", passed["latencies"]):
        yield sample


async def _at_half_rate(bench: Bench, stack: Stack) -> tuple[float, Answers, int]:
    """Throw as fast as may be, then at half of that rate; return this rate, its answers, and how many were thrown.

    Both loads are our own, since wrk would leave more of the machine to the product than the open loop does.
    """
    fastest = await post(_order(stack, TIMED, bench.seconds, keep=True))
    await await_recorded(stack.client, fastest.answered)
    rate = fastest.per_second * SHARE_OF_MAXIMUM
    answers = await post(_order(stack, TIMED, bench.seconds, rate=rate))
    thrown = fastest.answered + answers.answered
    await verify(stack.client, thrown)
    return rate, answers, thrown


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


def _order(stack: Stack, body: str, seconds: float, *, rate: float | None = None, keep: bool = False) -> Order:
    url = f"{stack.client.url}/v1/signals"
    return Order(url=url, body=body, token=ADMIN_TOKEN, seconds=seconds, rate=rate, keep=keep)


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
        Row(name="latency.rate", what="rate of the throws that are answered, and of the publishes", unit="signals/s"),
        Row(name="latency.tap-rate", what="rate of the throws to a tap, and of what passes", unit="signals/s"),
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
                (
                    "plain",
                    "plain aiohttp + aio-pika, a confirmed publish: request until its answer",
                    "confirm",
                ),
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
