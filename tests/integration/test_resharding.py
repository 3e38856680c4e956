"""The number of shards changes under load: what was accepted is recorded once, and keys keep their order."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import pytest

from broker.errors import Unavailable
from broker.operations.resharding import Resharder
from broker.shards import ShardFollower
from broker.store.shards import ShardStore
from broker.topology import ATTEMPT, RECORD, TOPOLOGY, Sharding, shard_names, shard_topology
from broker.transport import Message, Settlement
from broker.transport.rabbitmq import RabbitTransport
from tests.support.eventually import eventually
from tests.support.messaging import SOON
from tests.support.product import Process, client_of
from tests.support.rabbitmq import on_channel
from tests.support.receiver import receiver

pytestmark = pytest.mark.slow

BRIEFLY = timedelta(seconds=0.5)
KEYS = 5


@pytest.fixture
async def transport(rabbitmq_url, management):
    async with RabbitTransport(rabbitmq_url, management=management) as transport:
        await transport.declare(TOPOLOGY)
        yield transport


@pytest.fixture
def resharder(database, transport):
    """Return one with short deadlines: no process publishes here, so it need not wait for any."""
    return Resharder(
        ShardStore(database),
        transport,
        timeout=BRIEFLY,
        valid=timedelta(),
        drained_within=timedelta(seconds=30),  # RabbitMQ 4.3 measures a new queue only after some seconds
        measured_within=timedelta(seconds=2),
    )


async def reshard(resharder, queue, count):
    return [step async for step in resharder.reshard(queue, count)]


async def exist(url, *names):
    """Return which of the queues *names* there are."""

    async def exists(name):
        try:
            await on_channel(url, lambda channel: channel.queue_declare(name, passive=True))
        except Exception:  # noqa: BLE001  (pika's own)
            return False
        return True

    return [name for name in names if await exists(name)]


async def test_a_queue_gets_more_shards_and_fewer(database, rabbitmq_url, resharder):
    names = shard_names(RECORD, 4)
    assert await reshard(resharder, RECORD, 3) == [
        "declaring signals.record.1, signals.record.2",
        "waiting until they are consumed",
        "letting them have messages",
    ]
    assert await ShardStore(database).read() == {RECORD: Sharding(3, 3), ATTEMPT: Sharding()}
    assert await exist(rabbitmq_url, *names) == [*names[:3]]
    assert await reshard(resharder, RECORD, 3) == []
    assert await reshard(resharder, RECORD, 1) == [
        "letting signals.record.1, signals.record.2 have no more messages",
        "waiting until they are empty",
        "waiting until they are not consumed any more",
        "deleting them",
    ]
    assert await ShardStore(database).read() == {RECORD: Sharding(), ATTEMPT: Sharding()}
    assert await exist(rabbitmq_url, *names) == [RECORD]


async def test_a_shard_that_does_not_run_empty_stays_and_is_consumed(database, resharder, transport):
    await reshard(resharder, RECORD, 2)
    await transport.publish(Message(body=b"", shard_by=1), exchange="", routing_key=RECORD, timeout=SOON)
    with pytest.raises(Unavailable, match="run the command again"):
        await reshard(resharder, RECORD, 1)
    assert (await ShardStore(database).read())[RECORD] == Sharding(1, 2)
    async with transport.consume(RECORD, prefetch=1) as inbox:
        await inbox.settle(await inbox.receive(1), Settlement.ACK)
    await reshard(resharder, RECORD, 1)
    assert (await ShardStore(database).read())[RECORD] == Sharding()


async def test_what_a_consumer_holds_keeps_its_shard(database, rabbitmq_url, management, resharder, transport):
    """Its consumer is suspended, so that RabbitMQ counts none that could get a message."""
    async with RabbitTransport(rabbitmq_url, management=management) as other:
        await other.declare(TOPOLOGY)
        await reshard(resharder, RECORD, 2)
        async with ShardFollower(database, other) as follower, other.consume(RECORD, prefetch=10) as inbox:
            await other.publish(Message(body=b"", shard_by=1), exchange="", routing_key=RECORD, timeout=SOON)
            messages = await inbox.receive(1)
            inbox.suspend()
            shrinking = asyncio.create_task(reshard(resharder, RECORD, 1))
            await eventually(lambda: _has_left_off(database))
            inbox.resume()
            await inbox.settle(messages, Settlement.ACK)
            assert (await shrinking)[-1] == "deleting them"
            await follower.look()
            assert await other.depth(RECORD, timeout=SOON) == 0


async def _has_left_off(database):
    return (await ShardStore(database).read())[RECORD] == Sharding(1, 1, suspended=1)


async def test_shards_that_a_lost_command_let_nobody_consume_are_counted_and_consumed_again(database, rabbitmq_url):
    """It was killed before it could write that it had ended; a message had come back from a recorder that died."""
    store = ShardStore(database)
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        await transport.declare(shard_topology(RECORD, 3))
        await store.write(RECORD, Sharding(1, 3))
        async with ShardFollower(database, transport) as follower, transport.consume(RECORD, prefetch=10) as inbox:
            await store.suspend(RECORD, within=timedelta(seconds=2))
            assert (await store.read())[RECORD] == Sharding(1, 1, suspended=2)
            await follower.look()
            await eventually(lambda: len(inbox.parts) == 1)
            message = Message(body=b"", type="x")
            await transport.publish(message, exchange="", routing_key="signals.record.2", timeout=SOON)
            assert await transport.depth(RECORD, timeout=SOON) == 1
            assert transport.shards(RECORD) == shard_names(RECORD, 3)
            assert [received.type for received in await inbox.receive(1)] == ["x"]
            assert (await store.read())[RECORD] == Sharding(1, 3)


async def test_shards_that_were_lost_are_declared_by_the_same_number(rabbitmq_url, resharder):
    await reshard(resharder, RECORD, 3)
    await on_channel(rabbitmq_url, lambda channel: channel.queue_delete("signals.record.1"))
    await reshard(resharder, RECORD, 3)
    assert await exist(rabbitmq_url, *shard_names(RECORD, 3)) == [*shard_names(RECORD, 3)]


async def test_rabbitmq_that_was_lost_gets_the_shards_back_with_the_topology(database, rabbitmq_url, tmp_path):
    for queue, count in {RECORD: 3, ATTEMPT: 2}.items():
        await ShardStore(database).write(queue, Sharding(count, count))
    environment = {"STORE_URL": database.url, "TRANSPORT_URL": rabbitmq_url}
    assert "everything is declared" in await topology(environment, tmp_path, "--apply")
    names = [*shard_names(RECORD, 3), *shard_names(ATTEMPT, 2)]
    assert await exist(rabbitmq_url, *names) == names


async def test_without_postgresql_the_topology_is_declared_and_says_what_is_not_known(rabbitmq_url, tmp_path):
    environment = {"STORE_URL": "postgresql://nobody@127.0.0.1:1/none", "TRANSPORT_URL": rabbitmq_url}
    assert "everything is declared" in await topology(environment, tmp_path, "--apply")
    assert "whether queues are split is not known" in (tmp_path / "topology.log").read_text()


async def test_shards_that_an_interrupted_command_left_are_deleted_by_the_next(rabbitmq_url, database, resharder):
    await reshard(resharder, RECORD, 3)
    await ShardStore(database).write(RECORD, Sharding(1, 1))
    assert await exist(rabbitmq_url, *shard_names(RECORD, 3)) == [*shard_names(RECORD, 3)]
    await reshard(resharder, RECORD, 1)
    assert await exist(rabbitmq_url, *shard_names(RECORD, 3)) == [RECORD]


async def test_one_command_at_a_time_changes_the_numbers(resharder):
    async with aclosing(resharder.reshard(RECORD, 2)) as steps:
        await anext(steps)
        with pytest.raises(Unavailable, match="another command is changing the numbers"):
            await reshard(resharder, ATTEMPT, 2)


async def test_without_the_management_api_no_shard_is_given_up(database, rabbitmq_url):
    async with RabbitTransport(rabbitmq_url, management="http://127.0.0.1:1") as transport:
        await transport.declare(TOPOLOGY)
        resharder = Resharder(ShardStore(database), transport, timeout=BRIEFLY, valid=timedelta())
        await reshard(resharder, RECORD, 2)
        with pytest.raises(Unavailable, match="set SIGNAL_BROKER_MANAGEMENT_URL"):
            await reshard(resharder, RECORD, 1)
    assert (await ShardStore(database).read())[RECORD] == Sharding(2, 2)


class Load:
    """Throws signals with ordering keys, several at a time and those of a key one after the other."""

    def __init__(self, client, name):
        self._client = client
        self._name = name
        self._numbers = itertools.count()
        self.ids = {f"key-{number}": [] for number in range(KEYS)}
        self.unordered = []

    @property
    def accepted(self):
        """How many signals were accepted."""
        return len(self.unordered) + sum(map(len, self.ids.values()))

    @asynccontextmanager
    async def running(self):
        """Throw until the block ends, and until what was sent is answered."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for key in [*self.ids, None, None]:
                group.create_task(self._throw(key, stopping))
            yield
            stopping.set()

    async def goes_on(self, count=60):
        """Wait until *count* more signals were accepted."""
        wanted = self.accepted + count
        await eventually(lambda: self.accepted >= wanted)

    async def _throw(self, key, stopping):
        ids = self.unordered if key is None else self.ids[key]
        while not stopping.is_set():
            spec = {"name": self._name, "payload": {"number": next(self._numbers)}}
            spec |= {} if key is None else {"orderingKey": key}
            status, _, answer = await self._client.request("POST", "/v1/signals", json=spec)
            if status == 202:
                assert not ids or answer["id"] > ids[-1] or key is None
                ids.append(answer["id"])


@asynccontextmanager
async def processes(environment, directory, *roles):
    """Run a process for each role."""
    started = [
        Process(*role.split(), environment=environment, log=directory / f"{number}.log")
        for number, role in enumerate(roles)
    ]
    for process in started:
        await process.launch()
    try:
        for process in started:
            await process.await_start()
        yield started
    finally:
        for process in started:
            await process.__aexit__(None, None, None)


async def topology(environment, directory, *arguments):
    """Run the command; return its output."""
    process = Process("topology", *arguments, environment=environment, log=directory / "topology.log")
    await process.launch()
    await eventually(lambda: process.process.returncode is not None, within=180, every=0.1)
    assert process.process.returncode == 0, process.log.read_text()
    return process.log.with_suffix(".out").read_text()


@pytest.mark.timeout(400)
async def test_under_load_and_with_a_killed_recorder_all_is_recorded_once_and_delivered_in_order(
    database_url, rabbitmq_url, management, transport, tmp_path
):
    environment = {"STORE_URL": database_url, "TRANSPORT_URL": rabbitmq_url, "MANAGEMENT_URL": management}
    roles = ["gateway", "worker recorder", "worker recorder", "worker deliverer", "worker scheduler"]
    async with receiver() as webhooks, processes(environment, tmp_path, *roles) as (gateway, recorder, *others):
        async with client_of(gateway.url) as client:
            target = {"kind": "webhook", "url": webhooks.url()}
            await client.post("/v1/subscriptions", {"name": "placed", "target": target, "ordered": True})
            load = Load(client, "placed")
            async with load.running():
                await load.goes_on()
                more = await topology(environment, tmp_path, "--record-shards", "3", "--attempt-shards", "2")
                assert more == "signals.record is split into 3 queues\ndeliveries.attempt is split into 2 queues\n"
                await load.goes_on()
                recorder.kill()
                await recorder.process.wait()
                await load.goes_on()
                await recorder.start()
                shrinking = asyncio.create_task(
                    topology(environment, tmp_path, "--record-shards", "1", "--attempt-shards", "1")
                )
                await eventually(lambda: "letting" in (tmp_path / "topology.log").read_text().splitlines()[-1])
                others[0].kill()
                await others[0].process.wait()
                await others[0].start()
                assert await shrinking == "signals.record is one queue\ndeliveries.attempt is one queue\n"
                await load.goes_on()
            assert await exist(rabbitmq_url, *shard_names(RECORD, 3), *shard_names(ATTEMPT, 2)) == [RECORD, ATTEMPT]

            async def all_is_delivered():
                ledger = await client.get("/v1/ledger")
                return ledger["deliveries"]["delivered"] == load.accepted and ledger

            ledger = await eventually(all_is_delivered, within=120, every=0.5)
            assert (ledger["recorded"], ledger["unaccounted"], ledger["lost"]) == (load.accepted, 0, 0)
        delivered = [json.loads(request.body)["id"] for request in webhooks.requests]
        for ids in load.ids.values():
            known = set(ids)
            got = [number for number in delivered if number in known]
            assert list(dict.fromkeys(got)) == ids
