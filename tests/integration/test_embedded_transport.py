"""What the embedded transport promises beyond the port: who dies by kill -9 loses nothing and holds up nobody."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta

import pytest
from yarl import URL

from broker.errors import ConfigurationError, Unavailable, Unroutable
from broker.store.postgres.database import Database
from broker.topology import Binding, Exchange, Queue, Topology
from broker.transport import Message, Settlement
from broker.transport.embedded import EmbeddedTransport
from broker.transport.embedded.queues import Sql
from tests.support.eventually import eventually

SOON = timedelta(seconds=10)
PREAMBLE = """
import asyncio, sys
from datetime import timedelta
from broker.store.postgres.database import Database
from broker.transport import Message
from broker.transport.embedded import EmbeddedTransport
from broker.transport.embedded.queues import Sql

async def main():
    async with Database(sys.argv[1]) as database, EmbeddedTransport(database) as transport:
        await work(transport)

"""
PUBLISH = """
async def work(transport):
    async def publish(i):
        await transport.publish(Message(body=b"%d" % i), exchange="", routing_key="q", timeout=timedelta(seconds=10))
        print(i, flush=True)
    for start in range(0, 1_000_000, 20):
        await asyncio.gather(*(publish(i) for i in range(start, start + 20)))
"""
HOLD = """
async def work(transport):
    async with transport.consume("q", prefetch=3) as inbox:
        held = 0
        while held < 3:
            held += len(await inbox.receive(3))
        print("holding", flush=True)
        await asyncio.Event().wait()
"""


@pytest.fixture
async def transport(database):
    async with EmbeddedTransport(database) as transport:
        await transport.declare(Topology((), (Queue("q"),), ()))
        yield transport


async def start(work, database_url):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"{PREAMBLE}{work}\nasyncio.run(main())", database_url, stdout=asyncio.subprocess.PIPE
    )


@pytest.mark.slow
async def test_a_publisher_that_is_killed_loses_nothing_it_was_confirmed(transport, database_url):
    process = await start(PUBLISH, database_url)
    try:
        confirmed = [await process.stdout.readline() for _ in range(200)]
    finally:
        process.kill()
    rest = (await process.stdout.read()).splitlines(keepends=True)
    confirmed = {int(line) for line in confirmed + rest if line.endswith(b"\n")}
    await process.wait()
    depth = await transport.depth("q", timeout=SOON)
    async with transport.consume("q", prefetch=depth) as inbox:
        stored = set()
        while len(stored) < depth:
            stored |= {int(message.body) for message in await inbox.receive(depth)}
    assert len(confirmed) >= 200
    assert confirmed <= stored


@pytest.mark.slow
async def test_what_a_killed_consumer_held_comes_again_within_two_seconds(transport, database_url):
    for body in (b"0", b"1", b"2", b"3"):
        await transport.publish(Message(body=body), exchange="", routing_key="q", timeout=SOON)
    process = await start(HOLD, database_url)
    try:
        assert await process.stdout.readline() == b"holding\n"
        assert await transport.depth("q", timeout=SOON) == 1
    finally:
        process.kill()
        await process.wait()
    async with transport.consume("q", prefetch=10) as inbox:
        got = []
        async with asyncio.timeout(3):
            while len(got) < 4:
                got += await inbox.receive(10)
        await inbox.settle(got, Settlement.ACK)
    assert sorted((message.body, message.redelivered) for message in got) == [
        (b"0", True),
        (b"1", True),
        (b"2", True),
        (b"3", False),
    ]


async def test_a_living_consumer_keeps_what_it_holds(transport, database_url, database):
    """However long it takes: there is no lease, and other processes sweep."""
    await transport.publish(Message(body=b"0"), exchange="", routing_key="q", timeout=SOON)
    async with transport.consume("q", prefetch=1) as inbox:
        await inbox.receive(1)
        assert await database.fetch(Sql.dead_owners) == []
        assert await transport.depth("q", timeout=SOON) == 0


async def test_leaving_returns_what_is_held_at_once(transport):
    """Without waiting for a sweep, which may never come when the last process leaves."""
    await transport.publish(Message(body=b"0"), exchange="", routing_key="q", timeout=SOON)
    async with transport.consume("q", prefetch=1) as inbox:
        await inbox.receive(1)
    assert await transport.depth("q", timeout=SOON) == 1


async def test_publishes_of_one_batch_keep_their_order(transport):
    publishing = (
        transport.publish(Message(body=b"%d" % i), exchange="", routing_key="q", timeout=SOON) for i in range(50)
    )
    await asyncio.gather(*publishing)
    async with transport.consume("q", prefetch=50) as inbox:
        got = []
        while len(got) < 50:
            got += await inbox.receive(50)
    assert [message.body for message in got] == [b"%d" % i for i in range(50)]


async def test_a_publish_wakes_the_consumer(transport, database):
    """The consumer does not wait for its next look into the queue, which is a minute away here."""
    async with (
        EmbeddedTransport(database, poll=60) as patient,
        patient.consume("q", prefetch=1) as inbox,
        asyncio.timeout(10),
    ):
        await eventually(lambda: patient.consuming)
        for _ in range(5):
            await transport.publish(Message(body=b"0"), exchange="", routing_key="q", timeout=SOON)
            await inbox.settle(await inbox.receive(1), Settlement.ACK)


@pytest.mark.slow
async def test_poison_waits_for_its_dead_letter_exchange_to_route_it(transport):
    topology = Topology((Exchange("dlx", "fanout"),), (Queue("work", "dlx"), Queue("dead")), ())
    await transport.declare(topology)
    await transport.publish(Message(body=b"poison"), exchange="", routing_key="work", timeout=SOON)
    async with transport.consume("work", prefetch=10) as inbox:
        await inbox.settle(await inbox.receive(1), Settlement.REJECT)
    assert await transport.depth("work", timeout=SOON) == 0
    await transport.declare(Topology((), (), (Binding("dlx", "dead", ""),)))
    async with transport.consume("dead", prefetch=10) as inbox, asyncio.timeout(5):
        assert [message.body for message in await inbox.receive(1)] == [b"poison"]


async def test_a_binding_to_a_missing_queue_declares_nothing(transport):
    with pytest.raises(ConfigurationError):
        await transport.declare(Topology((), (Queue("new"),), (Binding("", "missing", "x"),)))
    with pytest.raises(Unroutable):
        await transport.depth("new", timeout=SOON)


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["force_generic_plan", "force_custom_plan"])
async def test_a_backlog_does_not_slow_a_claim(database, plan):
    """A claim touches a few pages per message, whatever the planner believes about the tables."""
    statement = Sql.claim.sql
    await database.execute(
        "INSERT INTO transport.messages (queue, keys, properties, body)"
        " SELECT q, '[]', '{}', 'body' FROM generate_series(1, 50000), (VALUES ('a'), ('b')) AS queues (q)"
    )
    async with database.session() as session:
        await session.execute(f"SET plan_cache_mode = {plan}")
        await session.execute(f"PREPARE claim (integer, text, integer, bigint) AS {statement}")
        plans = json.loads(
            await session.fetchval("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE claim (1, 'b', 50, 1000000)")
        )
    top = plans[0]["Plan"]
    assert top["Actual Rows"] == 50
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 800


@pytest.mark.slow
async def test_a_database_that_comes_back_is_used_again(postgres_url, database_url):
    """The suite cuts links; here the database refuses new ones for a while, too."""
    name = URL(database_url).name
    async with (
        Database(postgres_url) as server,
        Database(database_url) as database,
        EmbeddedTransport(database) as transport,
    ):
        await transport.declare(Topology((), (Queue("q"),), ()))
        async with transport.consume("q", prefetch=1) as inbox:
            await eventually(lambda: transport.ready and transport.consuming)
            await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            await eventually(lambda: not transport.ready and not transport.consuming)
            with pytest.raises(Unavailable):
                await transport.publish(Message(body=b"1"), exchange="", routing_key="q", timeout=SOON)
            await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await eventually(lambda: transport.ready and transport.consuming)
            await transport.publish(Message(body=b"2"), exchange="", routing_key="q", timeout=SOON)
            async with asyncio.timeout(5):
                assert [message.body for message in await inbox.receive(10)] == [b"2"]


@pytest.mark.slow
async def test_a_small_message_does_not_wait_for_the_large_ones_before_it(transport):
    def publish(size):
        return transport.publish(Message(body=b"x" * size), exchange="", routing_key="q", timeout=SOON)

    large = [publish(1 << 20) for _ in range(16)]  # four statements, one after the other
    await publish(10)

    assert not all(confirm.done() for confirm in large)
    await asyncio.gather(*large)
