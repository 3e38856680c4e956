"""How fast one recorder records: beside a gateway that accepts as fast as it can, and from a backlog."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from tests.bench.baselines import unnest
from tests.bench.bodies import NATIVE, TEXT
from tests.bench.load import Order, post
from tests.bench.programs import run_json
from tests.bench.receiving import receiving
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import await_recorded, recorded, running, subscribe, throw_backlog
from tests.bench.usage import measuring, servers_of, without_gateway
from tests.bench.verifying import verify
from tests.support.postgres import fresh_database
from tests.support.product import ADMIN_TOKEN

BACKLOG_PER_SECOND = 8000
"""How large a backlog is, for each second that a load lasts."""


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Measure each in turn, round by round."""
    for _ in range(bench.rounds):
        if bench.wants("recording.unnest"):
            yield await insert_rows(bench)
        for name, matching in (("nothing-matches", 0), ("one-matches", 1)):
            if bench.wants(f"recording.{name}"):
                yield await record_backlog(bench, name, matching)
        if bench.wants("recording.accepted") or bench.wants("recording.beside"):
            async for sample in accept_and_record(bench):
                yield sample


async def insert_rows(bench: Bench) -> Sample:
    """Insert the rows of a backlog, without anything else."""
    assert bench.postgres is not None
    count = int(BACKLOG_PER_SECOND * bench.seconds)
    async with fresh_database(bench.postgres) as url:
        with measuring(servers_of(bench)) as usage:
            done = await run_json(unnest.__name__, {"url": url, "body": TEXT, "count": count})
    cpu = usage.per(count) | {"client": done["cpu"] / count * 1e6}
    return Sample(row="recording.unnest", value=count / done["elapsed"], cpu=cpu)


async def record_backlog(bench: Bench, name: str, matching: int) -> Sample:
    """Let a recorder begin with a backlog, with so many subscriptions that match each signal."""
    async with running(bench) as stack, receiving() as receiver:
        for _ in range(matching):
            await subscribe(stack.client, receiver)
        count = await throw_backlog(stack.client, int(BACKLOG_PER_SECOND * bench.seconds))
        async with stack.worker("recorder"):
            first, start = await recorded(stack.client), time.perf_counter()
            with measuring(without_gateway(stack.pids)) as usage:
                await await_recorded(stack.client, count)
                elapsed = time.perf_counter() - start
            await verify(stack.client, count)
    return Sample(row=f"recording.{name}", value=(count - first) / elapsed, cpu=usage.per(count - first))


async def accept_and_record(bench: Bench) -> AsyncIterator[Sample]:
    """Throw as fast as one gateway accepts, while a recorder records."""
    async with running(bench, "recorder") as stack:
        order = Order(url=f"{stack.client.url}/v1/signals", body=NATIVE, token=ADMIN_TOKEN, seconds=bench.seconds)
        start = time.perf_counter()
        with measuring(stack.pids) as usage:
            answers = await post(order)
            await await_recorded(stack.client, answers.answered)
            elapsed = time.perf_counter() - start
        yield Sample(row="recording.accepted", value=answers.per_second)
        yield Sample(row="recording.beside", value=answers.answered / elapsed, cpu=usage.per(answers.answered))
        await verify(stack.client, answers.answered)


GROUP = Group(
    name="recording",
    title="Recording signals: one recorder process",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        Row(name="recording.unnest", what="plain INSERT ... SELECT FROM unnest, 250 rows each", unit="rows/s"),
        Row(
            name="recording.nothing-matches",
            what="from a backlog, no subscription matches",
            unit="signals/s",
            baseline="recording.unnest",
        ),
        Row(
            name="recording.one-matches",
            what="from a backlog, one subscription matches each",
            unit="signals/s",
            baseline="recording.unnest",
        ),
        Row(name="recording.accepted", what="accepted by one gateway, with a recorder beside", unit="signals/s"),
        Row(
            name="recording.beside",
            what="... and recorded, until the last one",
            unit="signals/s",
            baseline="recording.accepted",
        ),
    ],
    measure=measure,
)
