"""Signals that end their recorders: the process is gone, so that nobody is left to say by what."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker.messages import signal_message
from broker.store.signals.suspects import SuspectStore
from broker.topology import RECORD, TOPOLOGY, dead_letters
from broker.transport import Settlement
from tests.support.builders import accept
from tests.support.eventually import eventually
from tests.support.messaging import holds
from tests.support.transports import embedded_server, rabbitmq_transport_server
from workers.consumer import Consumer
from workers.suspects import ENDED, Suspects

SOON = timedelta(seconds=30)
A_MOMENT = 0.2
"""For how many seconds a signal is handled before it kills: those beside it are handled meanwhile."""


BEFORE_VERDICTS = 2 * ENDED - 2
"""How many recorders two killers end before one of them is rejected: two at once, then one after the other, alone."""


class Recorders:
    """Recorders that are killed by some signals, and started again.

    Args:
        server: Where their queue is.
        database: Where they note what they handle.
    """

    def __init__(self, server, database):
        self.server = server
        self.database = database
        self.handled = []
        self.ended = 0

    async def put(self, *names):
        async with self.server.open() as transport:
            await transport.declare(TOPOLOGY)
            for signal in await accept(self.database, *names):
                await transport.publish(signal_message(signal), exchange="", routing_key=RECORD, timeout=SOON)

    async def live(self, *, killed_by):
        """Run a recorder until the queue is empty, or a signal named *killed_by* has killed it; return if it lives."""
        killed = asyncio.Event()

        async def handle(messages):
            if any(message.type in killed_by for message in messages):
                await asyncio.sleep(A_MOMENT)
                killed.set()
                await asyncio.Event().wait()
            self.handled += [message.type for message in messages]
            return [Settlement.ACK] * len(messages)

        suspects = Suspects(handle, _Mortal(self.database, killed))
        async with self.server.open() as transport:
            consumer = Consumer(transport, RECORD, suspects.handle, batch=10, concurrency=2)
            running = asyncio.create_task(consumer.run(asyncio.Event(), drain=timedelta()))

            async def is_over():
                return killed.is_set() or not (
                    await transport.depth(RECORD, timeout=SOON) or transport.unsettled(RECORD)
                )

            await eventually(is_over)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        self.ended += killed.is_set()
        return not killed.is_set()


class _Mortal(SuspectStore):
    """Notes nothing any more once its process is *killed*."""

    def __init__(self, database, killed):
        super().__init__(database)
        self._killed = killed

    async def end(self, keys):
        if not self._killed.is_set():
            await super().end(keys)


@pytest.fixture(params=["embedded", "rabbitmq"])
def recorders(request, database):
    server = (
        embedded_server(database)
        if request.param == "embedded"
        else rabbitmq_transport_server(request.getfixturevalue("rabbitmq"), request.getfixturevalue("rabbitmq_url"))
    )
    return Recorders(server, database)


@pytest.mark.slow
async def test_signals_that_kill_recorders_are_isolated_and_their_neighbours_are_handled(recorders, database):
    await recorders.put(*["a"] * 12, "killer", *["b"] * 6, "other killer", "c")
    while not await recorders.live(killed_by={"killer", "other killer"}):
        assert recorders.ended <= 2 * ENDED + 1
        if recorders.ended == BEFORE_VERDICTS:
            assert set(recorders.handled) == {"a", "b", "c"}, "neighbours do not wait for the verdict"
    async with recorders.server.open() as transport:
        await holds(transport, dead_letters(RECORD), 2)
        await holds(transport, RECORD, 0)
    assert await database.fetchval("SELECT count(*) FROM suspects") == 0


@pytest.mark.slow
async def test_what_merely_comes_again_is_no_suspect(recorders, database):
    await recorders.put(*["a"] * 5)
    store = SuspectStore(database)
    for _ in range(ENDED + 2):
        await store.begin(["1", "2"])
    assert await store.count(["1", "2"]) == {}, "it has survived them itself"
    assert await recorders.live(killed_by=())
    assert recorders.handled == ["a"] * 5
