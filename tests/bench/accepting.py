"""How much CPU time a gateway takes for each signal that it accepts, and how many it accepts, in a closed loop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec

from tests.bench.baselines import running as running_baseline
from tests.bench.bodies import BATCH, BATCH_SIZE, CAMUNDA, NATIVE
from tests.bench.load import Order, post
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import Stack, count_accepted, running
from tests.bench.usage import measuring
from tests.bench.verifying import verify
from tests.support.product import ADMIN_TOKEN

WAYS = {
    "native": ("POST /v1/signals", NATIVE, 1),
    "camunda": ("POST /engine-rest/signal", CAMUNDA, 1),
    "batch": ("POST /v1/signals/batch", BATCH, BATCH_SIZE),
}
"""How one throws: the path, the body, and the number of signals in it."""
QUIET = "-quiet"
"""Ends the names of rows of a gateway that logs warnings only."""
LOGS = {"": "", QUIET: ", LOG_LEVEL=warning"}
BASELINES = {
    "bare": ("bare aiohttp handler, parses JSON", None),
    "plain": ("plain aiohttp + aio-pika, one confirmed publish per request", "bare"),
    "faststream": ("FastAPI + FastStream, one confirmed publish per request", "plain"),
}


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What is loaded."""

    name: str
    url: str
    pids: dict[str, int | None]
    body: str = NATIVE
    signals: int = 1
    token: str = ""
    accepted: list[int] = field(default_factory=list)

    async def measure(self, bench: Bench) -> AsyncIterator[Sample]:
        """Load it for a while."""
        batched = self.signals > 1
        order = Order(url=self.url, body=self.body, token=self.token, seconds=bench.seconds, keep=batched)
        with measuring(self.pids) as usage:
            answers = await post(order)
        assert not answers.failed, f"{self.name}: {answers.failed} of the requests failed"
        accepted = answers.answered
        if batched:
            accepted = sum(count_accepted(json.loads(body)) for body in answers.bodies)
        self.accepted.append(accepted)
        cpu = usage.per(accepted)
        yield Sample(row=f"accepting.{self.name}.cpu", value=cpu["gateway"], cpu=cpu)
        yield Sample(row=f"accepting.{self.name}.rate", value=accepted / answers.elapsed)
        if self.name == "bare":
            yield Sample(row="accepting.load", value=answers.ceiling)


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Load one after the other, round by round; at the end, verify that everything accepted is recorded."""
    async with running(bench) as stack, AsyncExitStack() as exits:
        baselines = [target async for target in _baselines(bench, stack, exits)]
        ours = [target async for target in _gateways(bench, stack, exits)]
        for _ in range(bench.rounds):
            for target in [*baselines, *ours]:
                async for sample in target.measure(bench):
                    yield sample
        async with stack.worker("recorder"):
            await verify(stack.client, sum(sum(target.accepted) for target in ours))


async def _baselines(bench: Bench, stack: Stack, exits: AsyncExitStack) -> AsyncIterator[_Target]:
    programs = {"bare": ("bare",), "plain": ("plain", stack.environment["TRANSPORT_URL"])}
    if find_spec("faststream") and find_spec("fastapi"):
        programs["faststream"] = ("faststream_throwing", stack.environment["TRANSPORT_URL"])
    for name, program in programs.items():
        if bench.wants(f"accepting.{name}"):
            running = await exits.enter_async_context(running_baseline(*program))
            pids = stack.pids | {"gateway": running.pid}
            yield _Target(name=name, url=running.url, pids=pids)


async def _gateways(bench: Bench, stack: Stack, exits: AsyncExitStack) -> AsyncIterator[_Target]:
    pids = {QUIET: dict(stack.pids)}
    urls = {QUIET: stack.client.url}
    loud = await exits.enter_async_context(stack.process("gateway", component="gateway", LOG_LEVEL="info"))
    urls[""], pids[""] = loud.url, dict(stack.pids)
    for logs in LOGS:
        for way, (path, body, signals) in WAYS.items():
            if bench.wants(f"accepting.{way}{logs}"):
                yield _Target(
                    name=f"{way}{logs}",
                    url=urls[logs] + path.removeprefix("POST "),
                    pids=pids[logs],
                    body=body,
                    signals=signals,
                    token=ADMIN_TOKEN,
                )


def _rows() -> list[Row]:
    described = dict(BASELINES)
    for logs, with_logs in LOGS.items():
        for way, (path, _, signals) in WAYS.items():
            at_once = f", {signals} at a time" if signals > 1 else ""
            baseline = f"native{logs}" if signals > 1 else "plain"
            described[f"{way}{logs}"] = (f"gateway, {path}{at_once}{with_logs}", baseline)
    load = Row(
        name="accepting.load",
        what="the load itself, at most: what its CPU time would allow on one core",
        unit="signals/s",
        baseline="accepting.bare.rate",
    )
    return [
        load,
        *(
            Row(
                name=f"accepting.{name}.{ending}",
                what=what,
                unit=unit,
                baseline=f"accepting.{baseline}.{ending}" if baseline else None,
            )
            for ending, unit in (("cpu", "us"), ("rate", "signals/s"))
            for name, (what, baseline) in described.items()
        ),
    ]


GROUP = Group(
    name="accepting",
    title="Accepting signals: CPU time per signal and rate of one gateway process, 64 connections, 1 KB each",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=_rows(),
    measure=measure,
)
