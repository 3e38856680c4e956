"""A node that hangs, dies or stalls: the links go to another one, and throws are accepted again within seconds.

Two proxies to one server are the two nodes. A hung node accepts connections and says nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from yarl import URL

from broker.errors import Unavailable
from broker.topology import Queue, Topology
from broker.transport import Message, Settlement
from broker.transport.rabbitmq import RabbitTransport
from broker.transport.rabbitmq.channel import Channel
from broker.transport.rabbitmq.link import Link, close, split_hosts
from tests.support.eventually import eventually
from tests.support.messaging import drain, publish_until_confirmed
from tests.support.proxy import proxy
from tests.support.rabbitmq import on_channel

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=10)
QUEUE = "queue"


@asynccontextmanager
async def two_nodes(url):
    """Yield two proxies to the server, and the URL with both of them as hosts."""
    async with proxy(url) as one, proxy(url) as two:
        port = URL(two.url).port
        yield (one, two), one.url.replace("/test-", f",127.0.0.1:{port}/test-")


def publish(transport, body=b"{}", *, repeatable=False):
    return transport.publish(Message(body=body), exchange="", routing_key=QUEUE, timeout=SOON, repeatable=repeatable)


async def publishes_to(transport, nodes):
    """Return the node that *transport* publishes to, once it does."""
    await publish_until_confirmed(transport, b"{}", key=QUEUE)
    return await _node_in_use(transport, nodes)


async def _node_in_use(transport, nodes):
    return await _node_of(transport._publisher._publishers[""]._supply.link, nodes)  # noqa: SLF001


async def consumes_from(transport, nodes):
    """Return the node that *transport* consumes from, once it does."""
    return await _node_of(transport._consuming, nodes)  # noqa: SLF001


async def _node_of(link, nodes):
    await eventually(lambda: link.up)
    return next(node for node in nodes if link.host.endswith(f":{URL(node.url).port}"))


FAULTS = {
    "hung": lambda node: node.stall(),
    "unheard": lambda node: node.stall(answers=False),
    "mute": lambda node: node.stall(requests=False),
    "dead": lambda node: node.cut(),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_publisher_goes_to_another_node(rabbitmq_url, fault):
    async with two_nodes(rabbitmq_url) as (nodes, url), RabbitTransport(url) as transport:
        await transport.declare(Topology(queues=(Queue(QUEUE),)))
        await publish(transport)
        first = await publishes_to(transport, nodes)
        FAULTS[fault](first)
        unconfirmed = publish(transport)
        async with asyncio.timeout(SOON.total_seconds()):
            await asyncio.wait([unconfirmed])
            await publish_until_confirmed(transport, b"{}", key=QUEUE)
        assert await publishes_to(transport, nodes) is not first
        assert unconfirmed.exception() is not None


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_consumer_goes_to_another_node(rabbitmq_url, fault):
    async with two_nodes(rabbitmq_url) as (nodes, url), RabbitTransport(url) as transport:
        await transport.declare(Topology(queues=(Queue(QUEUE),)))
        async with transport.consume(QUEUE, prefetch=1) as inbox:
            await eventually(lambda: transport.consuming)
            first = await consumes_from(transport, nodes)
            FAULTS[fault](first)
            async with asyncio.timeout(SOON.total_seconds()):
                await eventually(lambda: not transport.consuming)
                assert await consumes_from(transport, nodes) is not first
                await eventually(lambda: transport.consuming)
                # The server does not know yet that the first link is lost, and may hand out a message there.
                await on_channel(rabbitmq_url, lambda channel: [channel.basic_publish("", QUEUE, b"") for _ in "12"])
                [message] = await inbox.receive(1)
            await inbox.settle([message], Settlement.ACK)


async def test_a_message_that_may_be_repeated_makes_the_other_link_known_to_the_queue(rabbitmq_url):
    """While the leader of a queue hangs, RabbitMQ 3 finds the next one only for channels that it knows from before."""
    async with two_nodes(rabbitmq_url) as (_, url), RabbitTransport(url) as transport:
        await transport.declare(Topology(queues=(Queue(QUEUE),)))
        await publish(transport, b"once")
        supplies = transport._publisher._publishers[""].supplies  # noqa: SLF001
        await eventually(lambda: all(supply.is_open for supply in supplies))
        await publish(transport, b"twice", repeatable=True)
        await publish(transport, b"not each", repeatable=True)
        assert sorted(await drain(transport, QUEUE, 4)) == [b"not each", b"once", b"twice", b"twice"]


async def test_what_is_only_slow_is_not_given_up(rabbitmq_url):
    """A large message takes its time, and so does a server that answers late."""
    async with two_nodes(rabbitmq_url) as (nodes, url), RabbitTransport(url) as transport:
        await transport.declare(Topology(queues=(Queue(QUEUE),)))
        first = await publishes_to(transport, nodes)
        first.stall(requests=False)
        confirm = publish(transport, b"0" * (8 << 20))
        done, _ = await asyncio.wait([confirm], timeout=3)
        assert not done
        first.restore()
        await confirm
        assert await publishes_to(transport, nodes) is first


async def test_a_node_that_blocks_publishers_is_not_given_up(rabbitmq, rabbitmq_url):
    """It does not answer them, and no other node would."""
    async with two_nodes(rabbitmq_url) as (nodes, url), RabbitTransport(url) as transport:
        await transport.declare(Topology(queues=(Queue(QUEUE),)))
        await publish(transport)
        first = await publishes_to(transport, nodes)
        try:
            await asyncio.to_thread(rabbitmq.raise_memory_alarm)
            unconfirmed = transport.publish(
                Message(body=b"{}"), exchange="", routing_key=QUEUE, timeout=timedelta(seconds=5)
            )
            await asyncio.wait([unconfirmed])
            assert await _node_in_use(transport, nodes) is first
            assert not transport.ready
        finally:
            await asyncio.to_thread(rabbitmq.clear_memory_alarm)
        unconfirmed.exception()


async def test_a_process_publishes_on_links_to_different_nodes(rabbitmq_url):
    async with two_nodes(rabbitmq_url) as (nodes, url):
        for _ in range(6):  # by chance they would be different now and then
            async with RabbitTransport(url) as transport:
                links = transport._publishing  # noqa: SLF001
                assert len({await _node_of(link, nodes) for link in links}) == len(nodes)


async def test_a_channel_that_is_slow_to_close_does_not_cost_its_connection(rabbitmq_url):
    """RabbitMQ ends the connection for being asked again after its answer; aiormq asks when its caller gives up."""
    options = {"name": "test", "heartbeat": timedelta(seconds=10), "timeout": SOON}
    async with proxy(rabbitmq_url) as node, Link(split_hosts(node.url), **options) as link, link.channel() as other:
        channel = await link.open(Channel)
        node.stall(requests=False)
        await close(channel)
        node.restore()
        for _ in range(20):  # the end of the connection would take a moment
            async with link.channel():
                await other.queue_declare(QUEUE)
        assert channel.is_closed


async def test_all_nodes_serve(rabbitmq_url):
    """Were they tried in the order of the URL, all processes would be on the first one."""
    seen = set()
    async with two_nodes(rabbitmq_url) as (nodes, url):
        while len(seen) < 2:
            async with RabbitTransport(url) as transport:
                seen.add(await consumes_from(transport, nodes))


async def test_a_transport_that_does_nothing_notices_that_its_server_hangs(rabbitmq_url):
    """Heartbeats would take half a minute."""
    async with proxy(rabbitmq_url) as node, RabbitTransport(node.url) as transport:
        await eventually(lambda: transport.ready and transport.linked)
        await asyncio.sleep(3)  # it is asked for signs of life, and gives them
        assert transport.ready
        node.stall()
        await eventually(lambda: not transport.ready and not transport.linked, within=8)
        node.restore()
        await eventually(lambda: transport.ready)


async def test_without_confirms_a_transport_is_not_ready(rabbitmq, rabbitmq_url):
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(Topology(queues=(Queue(QUEUE),)))
        await publish(transport)
        rabbitmq.suspend()
        try:
            unconfirmed = publish(transport)
            await eventually(lambda: not transport.ready)
        finally:
            rabbitmq.resume()
        await asyncio.wait([unconfirmed])
        unconfirmed.exception()
        await eventually(lambda: transport.ready)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("/test-", "/other-"), r"NOT_ALLOWED - vhost other-\S+ not found"),
        (("guest:guest", "guest:wrong"), "ACCESS_REFUSED - Login was refused"),
        (("127.0.0.1", "[::1]"), "[Cc]onnect"),
        (("amqp://", "amqps://"), "SSL"),
    ],
    ids=["vhost", "password", "nobody", "plain"],
)
async def test_errors_say_why_there_is_no_link(rabbitmq_url, change, reason):
    async with RabbitTransport(rabbitmq_url.replace(*change), declare_timeout=timedelta(seconds=1)) as transport:
        with pytest.raises(Unavailable, match=reason):
            await transport.declare(Topology(queues=(Queue(QUEUE),)))
        with pytest.raises(Unavailable, match=reason):
            await transport.publish(Message(body=b""), exchange="", routing_key=QUEUE, timeout=timedelta(seconds=0.5))
        with pytest.raises(Unavailable, match=reason):
            await transport.depth(QUEUE, timeout=timedelta(seconds=0.5))


async def test_commands_have_time_for_the_other_hosts_while_the_first_ones_hang(rabbitmq_url):
    async def say_nothing(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as hung:
        port = hung.sockets[0].getsockname()[1]
        url = rabbitmq_url.replace("@", f"@127.0.0.1:{port},localhost:{port},")
        async with RabbitTransport(url, declare_timeout=timedelta(seconds=5)) as transport:
            await transport.declare(Topology(queues=(Queue(QUEUE),)))
            await transport.publish(Message(body=b""), exchange="", routing_key=QUEUE, timeout=timedelta(seconds=5))
