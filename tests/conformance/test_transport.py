"""The definition of the transport port: every adapter passes every test.

Routing has a file of its own (test_topology.py), and so have leaving and lost links (test_leaving.py).
Nothing here assumes more order across redeliveries than a quorum queue gives: a returned message comes again, somewhere
near its place.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from broker.errors import Unavailable, Unroutable
from broker.topology import Binding, Queue, Topology
from broker.transport import Message, Settlement
from tests.support.eventually import eventually
from tests.support.messaging import (
    SOON,
    bind,
    declare,
    declare_exchange,
    declare_queue,
    declare_with_dead_letters,
    drain,
    fresh,
    holds,
    nothing_comes,
    publish,
    take,
)


class TestMessages:
    async def test_everything_about_a_message_arrives(self, transport, queue):
        sent = Message(
            body=b'{"amount": 1}',
            headers={"signal-id": 1 << 40, "ce-type": "größe.changed", "CC": [queue]},
            type="größe.changed",
            timestamp=datetime(2026, 11, 22, 10, 30, 59, tzinfo=UTC),
            content_type="application/cloudevents+json",
        )
        await transport.publish(sent, exchange="", routing_key=queue, timeout=SOON)
        async with transport.consume(queue, prefetch=10) as inbox:
            [got] = await take(inbox, 1)
        assert got.body == b'{"amount": 1}'
        assert got.headers == {"signal-id": 1 << 40, "ce-type": "größe.changed", "CC": [queue]}
        assert got.type == "größe.changed"
        assert got.timestamp == datetime(2026, 11, 22, 10, 30, 59, tzinfo=UTC)
        assert got.content_type == "application/cloudevents+json"
        assert got.redelivered is False

    async def test_of_a_timestamp_whole_seconds_survive(self, transport, queue):
        sent = Message(body=b"{}", timestamp=datetime(2026, 11, 22, 10, 30, 59, 999_999, tzinfo=UTC))
        await transport.publish(sent, exchange="", routing_key=queue, timeout=SOON)
        async with transport.consume(queue, prefetch=10) as inbox:
            [got] = await take(inbox, 1)
        assert got.timestamp == datetime(2026, 11, 22, 10, 30, 59, tzinfo=UTC)

    async def test_what_was_not_given_is_not_there(self, transport, queue):
        await publish(transport, b"{}", key=queue)
        async with transport.consume(queue, prefetch=10) as inbox:
            [got] = await take(inbox, 1)
        assert (got.headers, got.type, got.timestamp) == ({}, None, None)
        assert got.content_type == "application/json"

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [0, 1 << 20, 15 << 20], ids=["empty", "1 MiB", "15 MiB"])
    async def test_a_body_of_any_size_and_content_arrives(self, transport, queue, size):
        body = (bytes(range(256)) * (size // 256 + 1))[:size]
        await publish(transport, body, key=queue)
        assert await drain(transport, queue, 1) == [body]


class TestRehearsing:
    async def test_a_rehearsal_stores_nothing(self, transport, queue):
        await transport.rehearse(timeout=SOON)
        await transport.rehearse(timeout=SOON)
        assert await transport.depth(queue, timeout=SOON) == 0
        assert not transport.lacks(queue)


class TestPublishing:
    async def test_without_a_queue_for_the_key_a_publish_is_unroutable(self, transport):
        exchange = await declare_exchange(transport, "direct")
        with pytest.raises(Unroutable):
            await publish(transport, b"1", exchange=exchange, key="nobody")

    async def test_to_a_missing_exchange_or_queue_a_publish_is_unroutable(self, transport, queue):
        with pytest.raises(Unroutable):
            await publish(transport, b"1", exchange=fresh(), key=queue)
        with pytest.raises(Unroutable):
            await publish(transport, b"1", key=fresh())

    @pytest.mark.slow
    async def test_what_is_not_mandatory_may_reach_nobody(self, transport, queue):
        exchange = await declare_exchange(transport, "topic")
        await bind(transport, exchange, queue, "wanted")
        for key in ("unwanted", "wanted"):
            message = Message(body=key.encode())
            await transport.publish(message, exchange=exchange, routing_key=key, timeout=SOON, mandatory=False)
        assert await drain(transport, queue, 1) == [b"wanted"]

    async def test_a_publish_that_nobody_waits_for_is_sent_all_the_same(self, transport, queue):
        transport.publish(Message(body=b"1"), exchange="", routing_key=queue, timeout=SOON)
        await publish(transport, b"2", key=queue)
        assert await drain(transport, queue, 2) == [b"1", b"2"]

    async def test_unroutable_messages_spoil_no_others(self, transport, queue):
        """They travel together, and a missing exchange costs an AMQP channel its life."""
        outcomes = await asyncio.gather(
            *(
                publish(transport, b"%d" % i, exchange=fresh() if i % 10 == 5 else "", key=fresh() if i % 3 else queue)
                for i in range(60)
            ),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [
            type(None) if i % 10 != 5 and i % 3 == 0 else Unroutable for i in range(60)
        ]
        got = await drain(transport, queue, 18)
        assert sorted(got, key=int) == [b"%d" % i for i in range(0, 60, 3) if i % 10 != 5]

    async def test_one_task_publishes_in_order(self, transport, queue):
        bodies = [b"%d" % i for i in range(50)]
        await publish(transport, *bodies, key=queue)
        assert await drain(transport, queue, 50) == bodies

    @pytest.mark.slow
    async def test_each_of_many_concurrent_publishes_arrives_once(self, transport, queue):
        await asyncio.gather(*(publish(transport, b"%d" % i, key=queue) for i in range(1000)))
        await holds(transport, queue, 1000)
        assert sorted(await drain(transport, queue, 1000), key=int) == [b"%d" % i for i in range(1000)]

    async def test_a_confirmed_message_outlives_its_publisher(self, server, transport, queue):
        async with server.open() as other:
            await publish(other, b"kept", key=queue)
        assert await drain(transport, queue, 1) == [b"kept"]

    @pytest.mark.slow
    async def test_a_server_out_of_reach_is_unavailable(self, server):
        """Entering does not wait for it."""
        async with server.open_unreachable() as transport:
            assert not transport.ready
            assert not transport.linked
            brief = timedelta(seconds=0.5)
            with pytest.raises(Unavailable):
                await transport.publish(Message(body=b"1"), exchange="", routing_key="q", timeout=brief)
            with pytest.raises(Unavailable):
                await transport.depth("q", timeout=brief)
            with pytest.raises(Unavailable):
                await transport.declare(Topology((), (Queue(fresh()),), ()))
            with pytest.raises(Unavailable):
                await transport.unbind([Binding("e", "q", "")])
            assert not transport.ready


class TestReceiving:
    async def test_receive_waits_for_a_message(self, transport, queue):
        async with transport.consume(queue, prefetch=10) as inbox:
            receiving = asyncio.create_task(take(inbox, 1))
            await eventually(lambda: transport.consuming)
            await publish(transport, b"late", key=queue)
            assert [message.body for message in await receiving] == [b"late"]

    async def test_receive_returns_up_to_its_limit_without_waiting_for_more(self, transport, queue):
        await publish(transport, b"1", b"2", b"3", key=queue)
        async with transport.consume(queue, prefetch=10) as inbox:
            await holds(transport, queue, 0)
            first = await take(inbox, 1)
            rest = await take(inbox, 2)
            assert [message.body for message in first + rest] == [b"1", b"2", b"3"]
            await publish(transport, b"4", key=queue)
            async with asyncio.timeout(SOON.total_seconds()):
                assert [message.body for message in await inbox.receive(100)] == [b"4"]

    async def test_giving_up_on_receive_loses_nothing(self, transport, queue):
        async with transport.consume(queue, prefetch=10) as inbox:
            await nothing_comes(inbox)
            for i in range(20):
                receiving = asyncio.create_task(inbox.receive(1))
                await asyncio.sleep(0)
                await publish(transport, b"%d" % i, key=queue)
                receiving.cancel()
                [outcome] = await asyncio.gather(receiving, return_exceptions=True)
                [got] = await take(inbox, 1) if isinstance(outcome, BaseException) else outcome
                assert got.body == b"%d" % i
                await inbox.settle([got], Settlement.ACK)

    @pytest.mark.slow
    async def test_no_more_than_the_prefetch_is_unsettled(self, transport, queue):
        await publish(transport, *(b"%d" % i for i in range(5)), key=queue)
        async with transport.consume(queue, prefetch=2) as inbox:
            taken = await take(inbox, 2)
            await holds(transport, queue, 3)
            await nothing_comes(inbox)
            await inbox.settle(taken[:1], Settlement.ACK)
            assert [message.body for message in await take(inbox, 1)] == [b"2"]
            await nothing_comes(inbox)

    async def test_receive_returns_up_to_so_many_bytes_and_a_larger_message_alone(self, transport, queue):
        await publish(transport, *(bytes(size) for size in (60, 30, 20, 500, 90)), key=queue)
        async with transport.consume(queue, prefetch=10) as inbox:
            await holds(transport, queue, 0)
            first = await take(inbox, 1)
            batches = [await inbox.receive(10, max_bytes=100) for _ in range(3)]
        assert [[len(message.body) for message in batch] for batch in (first, *batches)] == [
            [60],
            [30, 20],
            [500],
            [90],
        ]

    @pytest.mark.slow
    async def test_no_more_than_32_mib_are_unsettled_and_the_rest_comes_later(self, transport, queue):
        """The prefetch alone would let 60 MiB in."""
        await publish(transport, *(b"%02d" % i + bytes(1 << 20) for i in range(60)), key=queue)
        got, held = [], []
        async with transport.consume(queue, prefetch=100) as inbox:
            while len(got) < 60:
                async with asyncio.timeout(SOON.total_seconds()):
                    held += await inbox.receive(8)
                assert sum(len(message.body) for message in held) <= 32 << 20
                if len(held) > 16 or len(got) + len(held) == 60:
                    await inbox.settle(held, Settlement.ACK)
                    got += [message.body[:2] for message in held]
                    held.clear()
            await holds(transport, queue, 0)
            await nothing_comes(inbox)
        assert sorted(got) == [b"%02d" % i for i in range(60)]

    async def test_consumers_compete(self, server, transport, queue):
        async with (
            server.open() as other,
            transport.consume(queue, prefetch=1) as one,
            other.consume(queue, prefetch=1) as two,
        ):
            await publish(transport, b"1", b"2", key=queue)
            got = [*await take(one, 1), *await take(two, 1)]
        assert sorted(message.body for message in got) == [b"1", b"2"]

    async def test_depth_counts_what_is_ready(self, transport, queue):
        await holds(transport, queue, 0)
        await publish(transport, b"1", b"2", b"3", key=queue)
        await holds(transport, queue, 3)
        async with transport.consume(queue, prefetch=1) as inbox:
            await take(inbox, 1)
            await holds(transport, queue, 2)
        await holds(transport, queue, 3)

    async def test_unsettled_messages_are_those_handed_out_to_consumers_here(self, transport, queue):
        await publish(transport, b"1", b"2", b"3", key=queue)
        async with transport.consume(queue, prefetch=2) as inbox:
            first, second = await take(inbox, 2)
            assert transport.unsettled(queue) == [first.tag, second.tag]
            assert transport.unsettled(fresh()) == []
            await inbox.settle([first], Settlement.ACK)
            (third,) = await take(inbox, 1)
            assert transport.unsettled(queue) == [second.tag, third.tag]
        assert transport.unsettled(queue) == []

    @pytest.mark.slow
    async def test_a_missing_queue_has_no_depth(self, transport, queue):
        with pytest.raises(Unroutable):
            await transport.depth(fresh(), timeout=SOON)
        assert await transport.depth(queue, timeout=SOON) == 0


class TestSettling:
    async def test_an_acked_message_never_comes_again(self, transport, queue):
        await publish(transport, b"1", b"2", b"3", key=queue)
        async with transport.consume(queue, prefetch=10) as inbox:
            one, two, three = await take(inbox, 3)
            await inbox.settle([one, three], Settlement.ACK)
        async with transport.consume(queue, prefetch=10) as inbox:
            [again] = await take(inbox, 1)
            assert (again.body, again.redelivered) == (two.body, True)
            await nothing_comes(inbox)

    async def test_a_returned_message_comes_again_redelivered(self, transport, queue):
        await publish(transport, b"1", b"2", key=queue)
        async with transport.consume(queue, prefetch=10) as inbox:
            await inbox.settle(await take(inbox, 2), Settlement.RETURN)
            again = await take(inbox, 2)
        assert sorted((message.body, message.redelivered) for message in again) == [(b"1", True), (b"2", True)]

    async def test_a_rejected_message_goes_to_the_dead_queue_as_it_was(self, transport):
        queue, dead = await declare_with_dead_letters(transport)
        sent = Message(body=b"poison", headers={"ce-id": "7"}, type="policy.changed")
        await transport.publish(sent, exchange="", routing_key=queue, timeout=SOON)
        async with transport.consume(queue, prefetch=10) as inbox:
            await inbox.settle(await take(inbox, 1), Settlement.REJECT)
            await holds(transport, dead, 1)
            await nothing_comes(inbox)
        async with transport.consume(dead, prefetch=10) as inbox:
            [got] = await take(inbox, 1)
        # Whether it counts as redelivered differs: RabbitMQ 4.3 says yes, 3.10 no.
        assert (got.body, got.headers["ce-id"], got.type) == (b"poison", "7", "policy.changed")

    async def test_dead_letters_keep_their_routing_key(self, transport):
        dead = await declare_queue(transport)
        exchange = await declare_exchange(transport, "direct")
        queue = await declare_queue(transport, exchange)
        await bind(transport, exchange, dead, queue)
        await publish(transport, b"poison", key=queue)
        async with transport.consume(queue, prefetch=10) as inbox:
            await inbox.settle(await take(inbox, 1), Settlement.REJECT)
            await holds(transport, dead, 1)

    async def test_without_a_dead_letter_exchange_a_rejected_message_is_gone(self, transport, queue):
        await publish(transport, b"1", key=queue)
        async with transport.consume(queue, prefetch=10) as inbox:
            await inbox.settle(await take(inbox, 1), Settlement.REJECT)
            await nothing_comes(inbox)
        await holds(transport, queue, 0)

    @pytest.mark.slow
    async def test_beyond_the_delivery_limit_a_message_is_dead(self, transport):
        """The first time does not count: a limit of 20 is 21 times."""
        queue, dead = await declare_with_dead_letters(transport, delivery_limit=20)
        await publish(transport, b"poison", key=queue)
        await lose_consumers(transport, queue, 21)
        await holds(transport, dead, 1)
        await holds(transport, queue, 0)
        assert await drain(transport, dead, 1) == [b"poison"]

    @pytest.mark.slow
    async def test_beyond_the_delivery_limit_a_message_without_a_dead_letter_exchange_is_gone(self, transport):
        queue = await declare(transport, Queue(fresh(), delivery_limit=20))
        await publish(transport, b"poison", key=queue)
        await lose_consumers(transport, queue, 21)
        async with transport.consume(queue, prefetch=1) as inbox:
            await nothing_comes(inbox)
        await holds(transport, queue, 0)


async def lose_consumers(transport, queue, count):
    """Hand the message of *queue* out *count* times to a consumer that goes without settling it."""
    for _ in range(count):
        async with transport.consume(queue, prefetch=1) as inbox:
            await take(inbox, 1)
