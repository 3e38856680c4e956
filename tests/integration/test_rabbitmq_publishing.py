"""What the pipelined publisher answers when RabbitMQ refuses, blocks, hangs or goes away."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from broker.errors import Nacked, Unavailable, Unconfirmed, Unroutable
from broker.topology import Binding, Exchange, Queue, Topology
from broker.transport import Message, Settlement
from broker.transport.rabbitmq import RabbitTransport
from broker.transport.rabbitmq.confirms import MOST_MESSAGES
from tests.support.eventually import eventually
from tests.support.rabbitmq import on_channel
from tests.support.rabbitmq_servers import vhost_of

pytestmark = pytest.mark.slow

LONG = timedelta(seconds=30)
QUEUE = "queue"


@pytest.fixture
async def transport(rabbitmq_url):
    async with RabbitTransport(rabbitmq_url, connect_timeout=timedelta(seconds=1)) as transport:
        await transport.declare(Topology((), (Queue(QUEUE),), ()))
        await eventually(lambda: transport.ready)
        yield transport


def publish(transport, body=b"{}", *, exchange="", key=QUEUE, timeout=LONG):
    return transport.publish(Message(body=body), exchange=exchange, routing_key=key, timeout=timeout)


async def outcomes(*publishes):
    """Return what each came to: None, or the error's type."""
    results = await asyncio.gather(*publishes, return_exceptions=True)
    return [None if result is None else type(result) for result in results]


async def take_all(transport, count, queue=QUEUE):
    """Return the bodies of the next *count* messages of *queue*."""
    bodies = []
    async with asyncio.timeout(60), transport.consume(queue, prefetch=500) as inbox:
        while len(bodies) < count:
            taken = await inbox.receive(500)
            bodies += [message.body for message in taken]
            await inbox.settle(taken, Settlement.ACK)
    return bodies


async def publish_until_confirmed(transport, body=b"last"):
    async def confirmed():
        return await outcomes(publish(transport, body, timeout=timedelta(seconds=1))) == [None]

    await eventually(confirmed, within=30)


async def channel_used(transport, url):
    """Return what tells the publisher's channels apart: the beginning of the id that a message gets."""
    await publish(transport)
    _, properties, _ = await on_channel(url, lambda channel: channel.basic_get(QUEUE, auto_ack=True))
    return properties.message_id.partition(".")[0]


async def until_renewed(transport, url, before):
    async def renewed():
        return await channel_used(transport, url) != before

    await eventually(renewed)


async def test_a_channel_whose_confirms_come_after_all_is_used_again(transport, rabbitmq, rabbitmq_url):
    """A new one that was opened meanwhile would wait longer, if another node of RabbitMQ 3 leads the queue now."""
    before = await channel_used(transport, rabbitmq_url)
    queue = f"'{vhost_of(rabbitmq_url)}_{QUEUE}'"
    rabbitmq.ctl("eval", f"sys:suspend({queue}).")
    try:
        given_up = publish(transport)
        assert await outcomes(given_up, publish(transport)) == [Unconfirmed, Unconfirmed]
        waiting = publish(transport)
    finally:
        rabbitmq.ctl("eval", f"sys:resume({queue}).")
    await outcomes(waiting)
    await take_all(transport, 2)
    await eventually(lambda: transport.ready)
    await on_channel(rabbitmq_url, lambda channel: channel.queue_purge(QUEUE))
    assert await channel_used(transport, rabbitmq_url) == before


class TestPipelining:
    async def test_5000_concurrent_publishes_of_one_task_are_confirmed_and_in_order(self, transport):
        """More than the window takes: the rest waits for its place in order, too."""
        bodies = [b"%d" % i for i in range(5000)]
        assert await outcomes(*(publish(transport, body) for body in bodies)) == [None] * 5000
        assert await take_all(transport, 5000) == bodies

    async def test_callers_that_give_up_do_not_disturb_the_others(self, transport):
        await publish(transport, b"first")
        tasks = [asyncio.ensure_future(publish(transport, b"%d" % i)) for i in range(3000)]
        await asyncio.sleep(0)  # some are sent, the others wait for a place
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results[::2]} == {asyncio.CancelledError}
        assert set(results[1::2]) == {None}
        await publish(transport, b"last")
        sent = [b"%d" % i for i in range(3000) if i < MOST_MESSAGES or i % 2]
        assert await take_all(transport, len(sent) + 2) == [b"first", *sent, b"last"]

    async def test_what_amqp_cannot_say_is_the_callers_mistake_and_spoils_nothing(self, transport):
        tasks = [asyncio.ensure_future(publish(transport, key=key)) for key in [QUEUE, "x" * 256] * 1500]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert set(results[::2]) == {None}
        assert {type(result) for result in results[1::2]} == {ValueError}

    async def test_properties_are_as_documented(self, transport, rabbitmq_url):
        await outcomes(publish(transport, b"same"), publish(transport, b"same"))
        got = [await on_channel(rabbitmq_url, lambda channel: channel.basic_get(QUEUE, auto_ack=True)) for _ in "12"]
        assert [(p.delivery_mode, p.app_id, p.content_type) for _, p, _ in got] == [
            (2, "signal-broker", "application/json")
        ] * 2
        assert len({p.message_id for _, p, _ in got}) == 2


class TestRefusals:
    async def test_a_full_queue_nacks_and_the_publisher_goes_on_on_another_channel(self, transport, rabbitmq_url):
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await on_channel(rabbitmq_url, lambda channel: channel.queue_declare("full", durable=True, arguments=full))
        before = await channel_used(transport, rabbitmq_url)
        await publish(transport, b"first", key="full")
        for _ in range(3):
            with pytest.raises(Nacked):
                await publish(transport, key="full")
        assert await take_all(transport, 1, "full") == [b"first"]
        await until_renewed(transport, rabbitmq_url, before)
        await publish(transport, b"again", key="full")
        assert await take_all(transport, 1, "full") == [b"again"]

    async def test_equal_messages_get_each_its_own_answer(self, transport):
        """Returns are matched by message id: equal ids in flight gave a false success."""
        keys = [QUEUE, "nowhere"] * 200
        assert await outcomes(*(publish(transport, b"same", key=key) for key in keys)) == [None, Unroutable] * 200
        assert await take_all(transport, 200) == [b"same"] * 200

    async def test_a_missing_exchange_costs_nobody_else_an_answer(self, transport):
        others = [publish(transport) for _ in range(500)]
        assert await outcomes(*others, publish(transport, exchange="missing")) == [None] * 500 + [Unroutable]

    async def test_of_several_messages_to_a_missing_exchange_none_counts_as_published(self, transport):
        """Those before the first that met the gap may have been stored, for all the publisher can know."""
        came_to = await outcomes(*(publish(transport, exchange="missing") for _ in range(50)))
        assert came_to == [Unconfirmed] * 50

    async def test_an_exchange_may_come_and_go(self, transport, rabbitmq_url):
        topology = Topology((Exchange("e", "fanout"),), (), (Binding("e", QUEUE, ""),))
        for _ in range(2):
            with pytest.raises(Unroutable):
                await publish(transport, exchange="e")
            await transport.declare(topology)
            await publish(transport, exchange="e")
            await on_channel(rabbitmq_url, lambda channel: channel.exchange_delete("e"))


class TestFaults:
    async def test_a_blocked_publisher_is_not_ready_and_says_so_at_once(self, rabbitmq, transport):
        try:
            await asyncio.to_thread(rabbitmq.raise_memory_alarm)
            # RabbitMQ tells a publisher only when it publishes: this one may be sent and wait for its confirm in vain.
            assert await outcomes(publish(transport, timeout=timedelta(seconds=1))) in ([Unconfirmed], [Unavailable])
            await eventually(lambda: not transport.ready)
            async with asyncio.timeout(LONG.total_seconds() / 2):
                assert await outcomes(publish(transport)) == [Unavailable]
        finally:
            await asyncio.to_thread(rabbitmq.clear_memory_alarm)
        await eventually(lambda: transport.ready)
        await publish(transport)

    async def test_acks_are_heard_while_publishers_are_blocked(self, rabbitmq, transport, rabbitmq_url):
        for _ in range(20):
            await publish(transport)
        try:
            await asyncio.to_thread(rabbitmq.raise_memory_alarm)
            await outcomes(publish(transport, timeout=timedelta(seconds=0.5)))
            assert len(await take_all(transport, 20)) == 20
            left = await on_channel(rabbitmq_url, lambda channel: channel.queue_declare(QUEUE, passive=True))
            assert left.method.message_count == 0
        finally:
            await asyncio.to_thread(rabbitmq.clear_memory_alarm)

    async def test_a_server_that_hangs_leaves_the_sent_unconfirmed_and_the_others_unsent(
        self, rabbitmq, transport, rabbitmq_url
    ):
        """A channel whose confirms do not come is left behind: else its window would stay full.

        What was sent on it may be stored after what is sent on the next one.
        """
        before = await channel_used(transport, rabbitmq_url)
        rabbitmq.suspend()
        try:
            async with asyncio.timeout(LONG.total_seconds()):
                came_to = await outcomes(*(publish(transport, timeout=timedelta(seconds=1)) for _ in range(2500)))
        finally:
            rabbitmq.resume()
        assert Counter(came_to) == {Unconfirmed: MOST_MESSAGES, Unavailable: 2500 - MOST_MESSAGES}
        await publish_until_confirmed(transport)
        assert b"last" in await take_all(transport, MOST_MESSAGES + 1)
        await until_renewed(transport, rabbitmq_url, before)

    async def test_leaving_does_not_wait_for_a_server_that_hangs(self, rabbitmq, rabbitmq_url):
        try:
            async with asyncio.timeout(LONG.total_seconds()):
                async with RabbitTransport(rabbitmq_url) as transport:
                    await transport.declare(Topology((), (Queue(QUEUE),), ()))
                    await publish(transport)
                    rabbitmq.suspend()
                    publishing = asyncio.gather(
                        *(publish(transport, timeout=10 * LONG) for _ in range(2500)), return_exceptions=True
                    )
                    await asyncio.sleep(0)
                came_to = Counter(type(result) for result in await publishing)
        finally:
            rabbitmq.resume()
        assert came_to == {Unconfirmed: MOST_MESSAGES, Unavailable: 2500 - MOST_MESSAGES}
        with pytest.raises(Unavailable):
            await publish(transport)

    async def test_after_a_kill_nothing_confirmed_is_lost_and_everything_works_again(self, rabbitmq, transport):
        await asyncio.to_thread(rabbitmq.save_queues)
        async with transport.consume(QUEUE, prefetch=3) as inbox:
            await publish(transport, b"unsettled")
            [unsettled] = await inbox.receive(1)
            bodies = [b"%d" % i for i in range(3000)]
            tasks = [asyncio.ensure_future(publish(transport, body, timeout=timedelta(seconds=3))) for body in bodies]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(rabbitmq.kill)
            try:
                came_to = await outcomes(*tasks)
                await eventually(lambda: not transport.ready and not transport.consuming)
            finally:
                await asyncio.to_thread(rabbitmq.start)
            assert None in came_to
            assert set(came_to) <= {None, Unconfirmed, Unavailable}
            await publish_until_confirmed(transport)
            await inbox.settle([unsettled], Settlement.ACK)
            await eventually(lambda: transport.consuming)
            stored = set()
            while b"last" not in stored:
                taken = await inbox.receive(3)
                stored |= {message.body for message in taken}
                await inbox.settle(taken, Settlement.ACK)
        confirmed = {body for body, error in zip(bodies, came_to, strict=True) if error is None}
        assert confirmed | {b"unsettled"} <= stored


async def test_hosts_are_tried_one_after_the_other(rabbitmq_url):
    """One that refuses, one that hangs up at once, one that never says a word, and the real one."""

    async def hang_up(_, writer):
        writer.close()

    async def say_nothing(reader, writer):
        await reader.read(1000)
        await reader.read()
        writer.close()

    rude = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with rude, silent:
        others = ",".join(f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in (rude, silent))
        url = rabbitmq_url.replace("@", f"@127.0.0.1:1,{others},")
        async with RabbitTransport(url, connect_timeout=timedelta(seconds=0.3)) as transport:
            await eventually(lambda: transport.ready)
            await transport.declare(Topology((), (Queue(QUEUE),), ()))
            await publish(transport)
