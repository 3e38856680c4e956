"""The whole product in one process, as `make run` starts it, beside the same process on RabbitMQ and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.bodies import NATIVE
from tests.bench.load import Order, post
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import await_recorded
from tests.bench.usage import measuring, postmaster, servers_of
from tests.bench.verifying import verify
from tests.support.postgres import fresh_database
from tests.support.product import ADMIN_TOKEN, Process, client_of


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Measure both in turn, round by round."""
    assert bench.postgres is not None
    assert bench.rabbit is not None
    for _ in range(bench.rounds):
        if bench.wants("embedded.rabbitmq"):
            with bench.rabbit.vhost() as amqp:
                async with fresh_database(bench.postgres) as database:
                    environment = {"STORE_URL": database, "TRANSPORT_URL": amqp}
                    for sample in await _load(bench, "embedded.rabbitmq", environment):
                        yield sample
        if bench.wants("embedded.embedded"):
            with TemporaryDirectory(dir=bench.directory, prefix="embedded-") as name:
                for sample in await _load(bench, "embedded.embedded", {"DATA_DIR": name}):
                    yield sample


async def _load(bench: Bench, row: str, environment: Mapping[str, str]) -> list[Sample]:
    """Throw as fast as one process accepts, while it records."""
    settings = {"LOG_LEVEL": "warning", **environment}
    async with (
        Process("run", environment=settings, log=bench.directory / f"{row}.log") as process,
        client_of(process.url) as client,
    ):
        pids = servers_of(bench)
        if "DATA_DIR" in environment:
            pids = {"postgres": postmaster(Path(environment["DATA_DIR"]))}
        order = Order(url=f"{process.url}/v1/signals", body=NATIVE, token=ADMIN_TOKEN, seconds=bench.seconds)
        start = time.perf_counter()
        with measuring({"run": process.process.pid, **pids}) as usage:
            answers = await post(order)
            await await_recorded(client, answers.answered)
            elapsed = time.perf_counter() - start
        await verify(client, answers.answered)
        await process.stop()
    return [
        Sample(row=f"{row}.accepted", value=answers.per_second),
        Sample(row=f"{row}.recorded", value=answers.answered / elapsed, cpu=usage.per(answers.answered)),
    ]


GROUP = Group(
    name="embedded",
    title="signal-broker run: the whole product in one process",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        Row(
            name=f"embedded.{on}.{what}",
            what=f"{what}, {described}",
            unit="signals/s",
            baseline=f"embedded.rabbitmq.{what}" if on == "embedded" else None,
        )
        for on, described in (("rabbitmq", "on RabbitMQ and PostgreSQL"), ("embedded", "with everything embedded"))
        for what in ("accepted", "recorded")
    ],
    measure=measure,
)
