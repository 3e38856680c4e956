"""Samples: targets are tried with made signals, as gateways ask for it. Nothing about them is recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import structlog

from broker.deliveries import Outcome, Result
from broker.errors import StoreUnavailable
from broker.reasons import named_reason_of
from broker.schemas.samples import SampleAnswer, SentSchema
from broker.store.deliveries.attempts import Claimed
from broker.store.subscriptions.samples import LONGEST, Sample, SampleStore
from broker.targets import Kind
from workers.couriers import Courier, Sent

_AT_ONCE = 64
"""How many samples a worker makes at a time; see also `gateway.native.samples`."""
_LOOK_EVERY = 2.0
"""Seconds between looks for samples, where no notification comes."""
_MOST_CHARACTERS = 65_536

log = structlog.get_logger()


class Sampler:
    """Makes the attempts of samples, with what makes the real ones; limits, pauses and circuits do not matter.

    Args:
        samples: Where they are asked for.
        couriers: What delivers, by the kind of target.
        apps: The apps whose handlers it has; the empty one stands for webhooks and queues.
        timeout: How long an attempt may take if its subscription has no timeout of its own.
    """

    name = "sampler"

    def __init__(
        self, samples: SampleStore, couriers: Mapping[Kind, Courier], *, apps: Collection[str], timeout: timedelta
    ) -> None:
        self._samples = samples
        self._couriers = couriers
        self._apps = apps
        self._timeout = timeout

    async def run(self, stopping: asyncio.Event) -> None:
        """Make samples until *stopping* is set; those under way then get no answer."""
        asked, places = asyncio.Event(), asyncio.Semaphore(_AT_ONCE)
        self._samples.listen(asked.set)
        looking = asyncio.create_task(self._look(asked, places))
        try:
            await stopping.wait()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look(self, asked: asyncio.Event, places: asyncio.Semaphore) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await places.acquire()
                asked.clear()
                sample = None
                with suppress(StoreUnavailable):
                    sample = await self._samples.take(self._apps)
                if sample is not None:
                    group.create_task(self._make(sample)).add_done_callback(lambda _: places.release())
                    continue
                places.release()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY):
                        await asked.wait()

    async def _make(self, sample: Sample) -> None:
        answer = await self._try(sample.claimed)
        log.info("sample.made", subscription_id=sample.claimed.due.subscription_id, outcome=answer.outcome)
        with suppress(StoreUnavailable):  # who asked for it is told that there was no answer
            await self._samples.answer(sample, answer.model_dump_json(by_alias=True))

    async def _try(self, claimed: Claimed) -> SampleAnswer:
        """Make one step after the other, as long as they succeed, and return what the last one came to."""
        start, sent = time.perf_counter(), Sent({}, b"")
        end = asyncio.get_running_loop().time() + LONGEST.total_seconds()
        wanted = claimed.subscription.spec.timeout or self._timeout
        for step in range(len(claimed.subscription.spec.targets)):
            claimed = replace(claimed, step=step)
            courier = self._couriers[claimed.target.kind]
            left = max(0.1, end - asyncio.get_running_loop().time())
            try:
                sent = courier.preview(claimed)
                result = await courier.deliver(claimed, timeout=min(wanted, timedelta(seconds=left)))
            except Exception as error:
                log.exception("sample.failed", subscription_id=claimed.due.subscription_id)
                result = Result(outcome=Outcome.FAILED, error=named_reason_of(error))
            if result.outcome is not Outcome.SUCCEEDED:
                break
        return _answer(claimed, result, sent, time.perf_counter() - start)


def _answer(claimed: Claimed, result: Result, sent: Sent, seconds: float) -> SampleAnswer:
    exchange = result.exchange
    return SampleAnswer(
        outcome=result.outcome.value,
        status=result.status,
        duration_ms=round(seconds * 1000, 3),
        response=result.excerpt,
        error=result.error,
        request=SentSchema(
            url=None if exchange is None else exchange.url,
            headers=dict(sent.headers if exchange is None else exchange.request_headers),
            body=sent.body.decode(errors="replace")[:_MOST_CHARACTERS],
        ),
        step=claimed.step + 1 if claimed.subscription.spec.in_steps else None,
    )
