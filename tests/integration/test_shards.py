"""A queue that is split into shards is one queue to its users: who publishes, who consumes, and who counts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from broker.errors import ConfigurationError, Nacked, Unroutable
from broker.settings import Settings
from broker.shards import ShardFollower
from broker.store.shards import ShardStore
from broker.store.signals.intake_books import IntakeBooks
from broker.topology import ATTEMPT, BROADCAST, DELIVERIES, RECORD, TOPOLOGY, Sharding, shard_names, shard_topology
from broker.transport import Message, Settlement
from broker.transport.embedded import EmbeddedTransport
from broker.transport.rabbitmq import RabbitTransport, keeper
from broker.transport.rabbitmq.keeper import Keeper
from deploy.cli.resharding import judge_shards
from tests.support import queues
from tests.support.builders import accept, record
from tests.support.eventually import eventually
from tests.support.intake import NOTHING, recording, report, seeing
from tests.support.messaging import SOON, holds, nothing_comes, take
from tests.support.rabbitmq import on_channel
from tests.support.rabbitmq_users import user
from workers.bookkeeper import Bookkeeper

pytestmark = pytest.mark.slow

LONG = timedelta(minutes=5)
ROUTES = {RECORD: "", ATTEMPT: DELIVERIES}


@pytest.fixture
async def transport(rabbitmq_url):
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        yield transport


async def split(transport, queue, published, consumed=None, *, valid=LONG):
    consumed = consumed or published
    await transport.declare(shard_topology(queue, consumed))
    transport.shard(queue, Sharding(published, consumed), valid=valid)


async def publish(transport, queue, *by):
    """Publish a message for each value, whose body it is, and return once all are confirmed."""
    await asyncio.gather(
        *(
            transport.publish(
                Message(body=str(value).encode(), shard_by=value),
                exchange=ROUTES[queue],
                routing_key=queue,
                timeout=SOON,
            )
            for value in by
        )
    )


async def depths(url, queue, count):
    """Return how many messages are ready in each of *count* shards."""
    names = shard_names(queue, count)
    return await on_channel(
        url, lambda channel: [channel.queue_declare(name, passive=True).method.message_count for name in names]
    )


async def consumers(url, *names):
    return await on_channel(
        url, lambda channel: [channel.queue_declare(name, passive=True).method.consumer_count for name in names]
    )


@pytest.mark.parametrize("queue", [RECORD, ATTEMPT])
async def test_numbers_go_to_the_shards_in_turn_and_a_text_always_to_the_same(transport, rabbitmq_url, queue):
    await split(transport, queue, 3)
    await publish(transport, queue, *range(6), *["key"] * 10)
    await holds(transport, queue, 16)
    assert sorted(await depths(rabbitmq_url, queue, 3)) == [2, 2, 12]


@pytest.mark.parametrize("queue", [RECORD, ATTEMPT])
async def test_a_queue_that_is_not_split_gets_everything(transport, rabbitmq_url, queue):
    await publish(transport, queue, 1, 2, "key")
    await holds(transport, queue, 3)
    assert await depths(rabbitmq_url, queue, 1) == [3]


async def test_what_names_no_shard_goes_to_the_first(transport, rabbitmq_url):
    await split(transport, RECORD, 3)
    for _ in range(3):
        await transport.publish(Message(body=b""), exchange="", routing_key=RECORD, timeout=SOON)
    await holds(transport, RECORD, 3)
    assert await depths(rabbitmq_url, RECORD, 3) == [3, 0, 0]


async def test_a_signal_with_the_name_of_a_queue_reaches_taps_by_its_name(transport, rabbitmq_url):
    await split(transport, RECORD, 3)
    tap = await queues.declare(rabbitmq_url, f"{BROADCAST}=")
    message = Message(body=b"", shard_by=1)
    await transport.publish(message, exchange=BROADCAST, routing_key=RECORD, timeout=SOON)
    (((routing_key, _, _),),) = await queues.take(rabbitmq_url, tap)
    assert routing_key == RECORD


async def test_numbers_that_were_not_confirmed_in_time_are_not_used(transport, rabbitmq_url):
    """Others may have deleted the shards meanwhile."""
    await split(transport, RECORD, 3, valid=timedelta())
    await publish(transport, RECORD, *range(6))
    await holds(transport, RECORD, 6)
    assert await depths(rabbitmq_url, RECORD, 3) == [6, 0, 0]


@pytest.mark.parametrize("queue", [RECORD, ATTEMPT])
async def test_one_inbox_has_the_messages_of_all_shards(transport, queue):
    await split(transport, queue, 3)
    await publish(transport, queue, *range(30))
    async with transport.consume(queue, prefetch=60) as inbox:
        messages = await take(inbox, 30)
        assert sorted(int(message.body) for message in messages) == [*range(30)]
        assert sorted(transport.unsettled(queue)) == sorted({message.tag for message in messages})
        assert len(transport.unsettled(queue)) == 30
        await inbox.settle(messages, Settlement.ACK)
        assert not transport.unsettled(queue)
    assert await transport.depth(queue, timeout=SOON) == 0


async def test_what_may_be_unsettled_is_divided_by_the_shards(transport):
    await split(transport, RECORD, 3)
    await publish(transport, RECORD, *range(30))
    async with transport.consume(RECORD, prefetch=9) as inbox:
        await take(inbox, 9)
        await nothing_comes(inbox)


async def test_messages_of_all_shards_return(transport):
    await split(transport, RECORD, 3)
    await publish(transport, RECORD, *range(9))
    async with transport.consume(RECORD, prefetch=30) as inbox:
        await inbox.settle(await take(inbox, 9), Settlement.RETURN)
        assert all(message.redelivered for message in await take(inbox, 9))


async def test_what_is_poison_in_a_shard_goes_to_the_one_dead_queue(transport):
    await split(transport, RECORD, 3)
    await publish(transport, RECORD, *range(3))
    async with transport.consume(RECORD, prefetch=30) as inbox:
        await inbox.settle(await take(inbox, 3), Settlement.REJECT)
    await holds(transport, f"{RECORD}.dead", 3)


async def test_an_inbox_that_is_suspended_returns_what_was_not_taken_from_any_shard(transport):
    await split(transport, RECORD, 3)
    await publish(transport, RECORD, *range(9))
    async with transport.consume(RECORD, prefetch=30) as inbox:
        await take(inbox, 2)
        inbox.suspend()
        await holds(transport, RECORD, 7)
        await split(transport, RECORD, 5)
        await publish(transport, RECORD, *range(5))
        await holds(transport, RECORD, 12)
        inbox.resume()
        assert len(await take(inbox, 12)) == 12


async def test_an_inbox_follows_when_shards_come_and_go(transport, rabbitmq_url):
    surplus = shard_names(RECORD, 4, first=1)
    async with transport.consume(RECORD, prefetch=40) as inbox:
        await split(transport, RECORD, 4)

        async def are_consumed():
            return all(await consumers(rabbitmq_url, *surplus))

        async def are_left():
            return not any(await consumers(rabbitmq_url, *surplus))

        await eventually(are_consumed)
        assert transport.consuming
        await publish(transport, RECORD, *range(8))
        messages = await take(inbox, 8)
        await split(transport, RECORD, 1)
        await publish(transport, RECORD, *range(8))
        later = await take(inbox, 8)  # by the first shard; the others are consumed while something of them is held
        await eventually(are_consumed)
        await inbox.settle(messages + later, Settlement.ACK)
        await eventually(are_left)
        await split(transport, RECORD, 4)
        await eventually(are_consumed)
        await publish(transport, RECORD, *range(8))
        assert len(await take(inbox, 8)) == 8


async def test_a_shard_that_is_lost_comes_back_and_counts_as_the_loss_of_the_queue(transport, rabbitmq_url):
    lost = []
    await split(transport, RECORD, 3)
    transport.on_missing(RECORD, lambda: lost.append(1))
    await publish(transport, RECORD, 0, 1, 2)
    await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(f"{RECORD}.2"))
    await eventually(lambda: lost)

    async def is_back():
        with suppress(Unroutable):
            return await transport.depth(RECORD, timeout=SOON) == 2

    async def takes():
        with suppress(Nacked):  # RabbitMQ may think of the queue that was deleted, and keep the message even so
            await publish(transport, RECORD, 2)
            return True

    async def holds_it():
        *others, back = await depths(rabbitmq_url, RECORD, 3)
        return others == [1, 1] and back >= 1

    await eventually(is_back)
    await eventually(takes)
    await eventually(holds_it)


async def test_a_shard_that_is_made_again_at_once_counts_as_lost(transport, rabbitmq_url):
    lost = []
    await split(transport, RECORD, 3)
    transport.on_missing(RECORD, lambda: lost.append(1))
    (shard,) = shard_topology(RECORD, 3, first=2).queues

    def make_again(channel):
        channel.queue_delete(shard.name)
        channel.queue_declare(shard.name, durable=True, arguments=shard.arguments)

    await on_channel(rabbitmq_url, make_again)
    await eventually(lambda: lost)


async def test_a_shard_that_is_no_longer_consumed_may_be_deleted(transport, rabbitmq_url, monkeypatch):
    """The keeper of the topology looks at everything that it keeps, and compares it, one part after the other."""
    compared, compare = [], Keeper._compare  # noqa: SLF001

    async def note(self, part):
        compared.append(part.name)
        await compare(self, part)

    monkeypatch.setattr(keeper, "CHECK_EVERY", 0.02)
    monkeypatch.setattr(Keeper, "_compare", note)
    await split(transport, RECORD, 3)
    compared.clear()
    await eventually(lambda: f"{RECORD}.1" in compared)  # the one behind it is next
    transport.shard(RECORD, Sharding(2, 2), valid=LONG)
    await transport.delete(f"{RECORD}.2", timeout=SOON)
    compared.clear()
    await eventually(lambda: {queue.name for queue in TOPOLOGY.queues} <= set(compared))
    assert await transport.depth(f"{RECORD}.1", timeout=SOON) == 0
    with pytest.raises(Unroutable):
        await transport.depth(f"{RECORD}.2", timeout=SOON)


async def test_every_process_goes_by_the_numbers_in_the_store(transport, database, rabbitmq_url):
    store = ShardStore(database)
    async with ShardFollower(database, transport):
        await store.write(RECORD, Sharding(1, 3))
        await eventually(lambda: transport.shards(RECORD) == (RECORD, f"{RECORD}.1", f"{RECORD}.2"), within=4)
        await publish(transport, RECORD, *range(3))
        assert await depths(rabbitmq_url, RECORD, 3) == [3, 0, 0]
        await store.write(RECORD, Sharding(3, 3))

        async def reach_all():
            await publish(transport, RECORD, *range(3))
            return all(await depths(rabbitmq_url, RECORD, 3))

        await eventually(reach_all, within=4)
        assert await store.read() == {RECORD: Sharding(3, 3), ATTEMPT: Sharding()}


async def test_a_proof_is_behind_all_that_waits_in_each_shard(transport, database, rabbitmq_url):
    await record(database, *await accept(database, "recorded"))
    await split(transport, RECORD, 3)
    await publish(transport, RECORD, *range(3))
    assert await Bookkeeper(database, transport, Settings())._prove(7) == 3  # noqa: SLF001
    for position, shard in enumerate(shard_names(RECORD, 3)):
        ((_, (_, properties, _)),) = await queues.take(rabbitmq_url, shard)
        assert properties.headers["proof"] == 7
        assert (properties.headers["proof-shard"], properties.headers["proof-shards"]) == (position, 3)


async def test_a_lost_signal_is_found_in_a_split_queue(transport, database):
    """And it is not lost as long as it may be in a shard that is behind the others."""
    await record(database, *await accept(database, "recorded"))
    await split(transport, RECORD, 2)
    (signal,) = await report(database, "a")
    books = IntakeBooks(database, lost_after=timedelta(seconds=0.6))
    bookkeeper = Bookkeeper(database, transport, Settings(), intake=books)

    async def keep():
        await books.fold()
        return await books.judge(NOTHING, prove=bookkeeper._prove, look=seeing())  # noqa: SLF001

    async with recording(database, transport):
        lost = await eventually(keep)
    assert list(lost) == [(signal.id, signal.id)]


async def test_doctor_tells_the_numbers_and_what_was_left_behind(transport, database):
    store = ShardStore(database)

    async def judge():
        await ShardFollower(database, transport).look()
        finding = await judge_shards(database, transport, SOON)
        return finding.level, finding.detail

    assert await judge() == ("ok", "no queue is split")
    await store.write(RECORD, Sharding(3, 3))
    assert await judge() == ("ok", "signals.record is split into 3")
    await store.write(RECORD, Sharding(2, 3))
    level, detail = await judge()
    assert level == "warn"
    assert detail.startswith("signals.record is being split anew")
    await publish(transport, RECORD, 0, 1)
    await store.write(RECORD, Sharding(1, 1))
    level, detail = await judge()
    assert level == "fail"
    assert "signals.record.1, signals.record.2 have no consumers, and 1 messages wait there" in detail
    assert "`signal-broker topology --record-shards 1`" in detail


@pytest.mark.parametrize("role", ["recorder", "deliverer"])
async def test_a_worker_with_the_rights_of_its_role_consumes_all_shards(
    transport, database, rabbitmq, rabbitmq_url, role
):
    queue = {"recorder": RECORD, "deliverer": ATTEMPT}[role]
    await split(transport, queue, 3)
    await ShardStore(database).write(queue, Sharding(3, 3))
    await publish(transport, queue, *range(3))
    async with (
        user(rabbitmq, rabbitmq_url, role) as url,
        RabbitTransport(url) as limited,
        ShardFollower(database, limited),
        limited.consume(queue, prefetch=30) as inbox,
    ):
        await inbox.settle(await take(inbox, 3), Settlement.ACK)


async def test_the_embedded_transport_splits_no_queue(database):
    async with EmbeddedTransport(database) as transport:
        await ShardFollower(database, transport).look()
        await ShardStore(database).write(RECORD, Sharding(2, 2))
        with pytest.raises(ConfigurationError, match="which only RabbitMQ as the transport does"):
            await ShardFollower(database, transport).look()
