"""How many batches a consumer has under way: one while there is no backlog, others beside one that takes long."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from broker.transport import Received, Settlement
from tests.support.eventually import eventually
from workers.consumer import Consumer


class Batches:
    """A transport and its inbox: what `receive` returns is what was put."""

    def __init__(self):
        self._batches = asyncio.Queue()

    def put(self, *bodies):
        self._batches.put_nowait(
            [Received(body=body, tag=tag, redelivered=False) for tag, body in enumerate(bodies, 1)]
        )

    @asynccontextmanager
    async def consume(self, _queue, *, prefetch):  # noqa: ARG002
        yield self

    async def receive(self, _limit, *, max_bytes):  # noqa: ARG002
        return await self._batches.get()

    async def settle(self, messages, settlement):
        """Settle nothing."""


class Handling:
    """A consumer of batches, none of which is handled before `over`."""

    def __init__(self):
        self.batches = Batches()
        self.begun = []
        self.over = asyncio.Event()
        self.consumer = Consumer(self.batches, "q", self._handle, batch=20, batch_bytes=100, concurrency=3, aside=1)

    async def _handle(self, messages):
        self.begun.append([message.body for message in messages])
        if messages[0].body == b"wide":
            self.consumer.step_aside()
        await self.over.wait()
        return [Settlement.ACK] * len(messages)


@pytest.fixture
async def handling(monkeypatch):
    monkeypatch.setattr("workers.consumer._SOON", 600)
    one, stopping = Handling(), asyncio.Event()
    running = asyncio.create_task(one.consumer.run(stopping, drain=timedelta(seconds=5)))
    yield one
    one.over.set()
    stopping.set()
    await running


async def test_a_small_batch_is_handled_alone(handling):
    for _ in range(2):
        handling.batches.put(b"1")
    await eventually(lambda: handling.begun)
    for _ in range(100):
        await asyncio.sleep(0)
    assert handling.begun == [[b"1"]]
    handling.over.set()
    await eventually(lambda: len(handling.begun) == 2)


@pytest.mark.parametrize("bodies", [[b"1", b"2"], [b"1234567890"], [b"1"] * 20], ids=["many", "large", "full"])
async def test_beside_a_batch_that_is_not_small_others_are_handled(handling, bodies):
    for _ in range(4):
        handling.batches.put(*bodies)
    await eventually(lambda: handling.begun == [bodies] * 3)


async def test_a_small_batch_that_takes_long_keeps_no_other_one_waiting(handling, monkeypatch):
    monkeypatch.setattr("workers.consumer._SOON", 0.01)
    for _ in range(4):
        handling.batches.put(b"1")
    await eventually(lambda: handling.begun == [[b"1"]] * 3)


async def test_nor_does_one_that_steps_aside(handling):
    for body in (b"wide", b"1", b"2"):
        handling.batches.put(body)
    await eventually(lambda: handling.begun == [[b"wide"], [b"1"]])
