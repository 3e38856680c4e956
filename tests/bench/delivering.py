"""How fast one deliverer delivers a backlog to one webhook that answers at once, and callers lease one of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec

from tests.bench.baselines import Program, confirm
from tests.bench.baselines import post as post_loop
from tests.bench.baselines import running as running_baseline
from tests.bench.bodies import NAME, NATIVE
from tests.bench.programs import run_json
from tests.bench.progress import reach
from tests.bench.receiving import Receiver, receiving
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import await_owed, running, subscribe, throw_backlog
from tests.bench.usage import measuring, servers_of
from tests.support.product import Process

BACKLOG_PER_SECOND = 2000
"""How large a backlog is, for each second that a load lasts."""
_PULLERS, _LEASED = 4, 100
"""How many callers lease at a time, and how many deliveries each."""


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Measure each in turn, round by round."""
    count = int(BACKLOG_PER_SECOND * bench.seconds)
    for _ in range(bench.rounds):
        if bench.wants("delivering.post"):
            yield await post_in_a_loop(count)
        for name in ("consume", "faststream_delivering"):
            row = f"delivering.{name.partition('_')[0]}"
            if bench.wants(row) and (name == "consume" or find_spec("faststream")):
                yield await consume_backlog(bench, row, name, count)
        if bench.wants("delivering.deliverer"):
            yield await deliver_backlog(bench, count)
        if bench.wants("delivering.pull"):
            yield await pull_backlog(bench, count)


async def post_in_a_loop(count: int) -> Sample:
    """Post as often with nothing but a client."""
    async with receiving() as receiver:
        done = await run_json(post_loop.__name__, {"url": receiver.url, "body": NATIVE, "count": count})
    cpu = {"deliverer": done["cpu"] / count * 1e6}
    return Sample(row="delivering.post", value=count / done["elapsed"], cpu=cpu)


async def consume_backlog(bench: Bench, row: str, name: str, count: int) -> Sample:
    """Let a baseline begin with as many messages."""
    assert bench.rabbit is not None
    with bench.rabbit.vhost() as amqp:
        await run_json(confirm.__name__, {"url": amqp, "body": NATIVE, "count": count})
        async with receiving() as receiver:
            starting = running_baseline(name, amqp, receiver.url)
            return await _drain(row, starting, receiver, count, pids=servers_of(bench))


async def deliver_backlog(bench: Bench, count: int) -> Sample:
    """Let a deliverer begin with a backlog of *count* deliveries; each must have come at the end.

    Most of it is parked when it begins: a scheduler brings as many back as the queue has room for.
    """
    async with running(bench, "recorder", "scheduler") as stack, receiving() as receiver:
        await subscribe(stack.client, receiver)
        owed = await throw_backlog(stack.client, count)
        await await_owed(stack.client, owed)
        pids = {"scheduler": stack.pids["scheduler"], **servers_of(bench)}
        sample = await _drain("delivering.deliverer", stack.worker("deliverer"), receiver, owed, pids=pids)
        await reach(lambda: len(receiver.taken), owed)  # repeats do not count
    return sample


async def pull_backlog(bench: Bench, count: int) -> Sample:
    """Let callers lease a backlog of *count* deliveries and acknowledge them, 100 at a time: each comes once."""
    async with running(bench, "recorder") as stack:
        client, taken = stack.client, set[str]()
        subscription = await client.post("/v1/subscriptions", {"name": NAME, "target": {"kind": "pull"}})
        owed = await throw_backlog(client, count)
        await await_owed(client, owed)

        async def pull() -> None:
            while len(taken) < owed:
                asked = {"max": _LEASED, "waitSeconds": 1}
                leased = (await client.post(f"/v1/subscriptions/{subscription['id']}/lease", asked))["deliveries"]
                ids, tokens = {one["deliveryId"] for one in leased}, [one["leaseToken"] for one in leased]
                assert not ids & taken, "a delivery was leased twice"
                taken.update(ids)
                if tokens:
                    results = (await client.post("/v1/leases/ack", {"leaseTokens": tokens}))["results"]
                    assert all(one["ok"] for one in results)

        start = time.perf_counter()
        with measuring({"gateway": stack.pids["gateway"], **servers_of(bench)}) as usage:
            await asyncio.gather(*(pull() for _ in range(_PULLERS)))
        elapsed = time.perf_counter() - start
    return Sample(row="delivering.pull", value=owed / elapsed, cpu=usage.per(owed))


async def _drain(
    row: str,
    starting: AbstractAsyncContextManager[Process] | AbstractAsyncContextManager[Program],
    receiver: Receiver,
    owed: int,
    *,
    pids: Mapping[str, int | None],
) -> Sample:
    """Measure a consumer from when it is ready until *owed* requests came."""
    async with starting as started:
        pid = started.pid if isinstance(started, Program) else started.process.pid
        first, start = receiver.requests, time.time()
        with measuring({"deliverer": pid, **pids}) as usage:
            await reach(lambda: receiver.requests, owed, every=0.005)
    made = owed - first
    return Sample(row=row, value=made / (receiver.last - start), cpu=usage.per(made))


GROUP = Group(
    name="delivering",
    title="Delivering a backlog: one deliverer process, one webhook that answers at once; and by leases",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        Row(name="delivering.post", what="bare aiohttp client, 200 POSTs at once", unit="deliveries/s"),
        Row(
            name="delivering.consume",
            what="aio-pika consumer that posts with aiohttp; signs and records nothing",
            unit="deliveries/s",
            baseline="delivering.post",
        ),
        Row(
            name="delivering.faststream",
            what="FastStream subscriber that posts with aiohttp; signs and records nothing",
            unit="deliveries/s",
            baseline="delivering.consume",
        ),
        Row(
            name="delivering.deliverer",
            what="deliverer: signs, records every attempt",
            unit="deliveries/s",
            baseline="delivering.consume",
        ),
        Row(
            name="delivering.pull",
            what="one gateway: 4 callers lease and acknowledge, 100 at a time",
            unit="deliveries/s",
            baseline="delivering.deliverer",
        ),
    ],
    measure=measure,
)
