"""The definition of the transport port, second half: what is declared, and where it routes."""

from __future__ import annotations

import asyncio

import pytest

from broker.errors import ConfigurationError, Unroutable
from broker.topology import Binding, Exchange, Queue, Topology
from tests.support.messaging import bind, declare, declare_exchange, declare_queue, drain, fresh, holds, publish


class TestRouting:
    @pytest.mark.slow
    async def test_a_fanout_exchange_reaches_every_queue_whatever_the_key(self, transport):
        exchange = await declare_exchange(transport, "fanout")
        queues = [await declare_queue(transport) for _ in range(3)]
        for queue in queues:
            await bind(transport, exchange, queue, "ignored")
        await publish(transport, b"news", exchange=exchange, key="any.key")
        assert [await drain(transport, queue, 1) for queue in queues] == [[b"news"]] * 3

    async def test_a_direct_exchange_compares_the_whole_key(self, transport):
        exchange = await declare_exchange(transport, "direct")
        exact, pattern = await declare_queue(transport), await declare_queue(transport)
        await bind(transport, exchange, exact, "a.b")
        await bind(transport, exchange, pattern, "#")
        await publish(transport, b"1", exchange=exchange, key="a.b")
        await publish(transport, b"last", key=pattern)
        assert [await drain(transport, queue, 1) for queue in (exact, pattern)] == [[b"1"], [b"last"]]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("pattern", "key", "matches"),
        [
            ("policy.changed", "policy.changed", True),
            ("policy.changed", "policy-changed", False),
            ("policy.changed", "policy.changed.again", False),
            ("policy.*", "policy.changed", True),
            ("policy.*", "policy", False),
            ("policy.*", "policy.conditions.changed", False),
            ("*.changed", "policy.changed", True),
            ("*", "policy", True),
            ("*", "", False),
            ("policy.#", "policy", True),
            ("policy.#", "policy.conditions.changed", True),
            ("policy.#", "policyholder", False),
            ("#.changed", "changed", True),
            ("#.changed", "policy.conditions.changed", True),
            ("#.changed", "unchanged", False),
            ("policy.#.changed", "policy.changed", True),
            ("policy.#.changed", "policy.a.b.changed", True),
            ("*.#", "policy", True),
            ("#", "", True),
            ("#", "policy.changed", True),
            ("", "", True),
            ("", "policy", False),
            ("a+b(c)|[d].$^\\", "a+b(c)|[d].$^\\", True),
            ("a+", "aa", False),
            ("größe.*", "größe.x", True),
            ("po*", "policy", False),
        ],
    )
    async def test_a_topic_exchange_matches_words(self, transport, queue, pattern, key, matches):
        exchange = await declare_exchange(transport, "topic")
        await bind(transport, exchange, queue, pattern)
        if matches:
            await publish(transport, b"1", exchange=exchange, key=key)
            await holds(transport, queue, 1)
        else:
            with pytest.raises(Unroutable):
                await publish(transport, b"1", exchange=exchange, key=key)

    async def test_an_exchange_bound_to_another_routes_by_the_same_key(self, transport, queue):
        source, target = await declare_exchange(transport, "fanout"), await declare_exchange(transport, "topic")
        await bind(transport, source, target, to="exchange")
        await bind(transport, target, queue, "policy.#")
        await publish(transport, b"1", exchange=source, key="policy.changed")
        with pytest.raises(Unroutable):
            await publish(transport, b"2", exchange=source, key="claim.changed")
        assert await drain(transport, queue, 1) == [b"1"]

    @pytest.mark.slow
    async def test_exchanges_bound_in_a_circle_route_once(self, transport, queue):
        one, two = await declare_exchange(transport, "fanout"), await declare_exchange(transport, "fanout")
        await bind(transport, one, two, to="exchange")
        await bind(transport, two, one, to="exchange")
        await bind(transport, two, queue)
        await publish(transport, b"1", exchange=one, key="")
        await holds(transport, queue, 1)

    async def test_a_queue_that_is_reached_twice_gets_one_copy(self, transport, queue):
        exchange = await declare_exchange(transport, "topic")
        await bind(transport, exchange, queue, "#")
        await bind(transport, exchange, queue, "policy.*")
        await publish(transport, b"1", exchange=exchange, key="policy.changed")
        await holds(transport, queue, 1)

    async def test_a_cc_header_adds_keys_and_still_one_copy_per_queue(self, transport):
        exchange = await declare_exchange(transport, "topic")
        both, second = await declare_queue(transport), await declare_queue(transport)
        await bind(transport, exchange, both, "tenant.#")
        await bind(transport, exchange, second, "tenant.b.#")
        copies = {"CC": ["tenant.b.changed", "nobody.wants.this"]}
        await publish(transport, b"1", exchange=exchange, key="tenant.a.changed", headers=copies)
        await holds(transport, both, 1)
        await holds(transport, second, 1)

    async def test_a_cc_header_alone_makes_a_message_routable(self, transport, queue):
        await publish(transport, b"1", key=fresh(), headers={"CC": [queue]})
        assert await drain(transport, queue, 1) == [b"1"]


class TestDeclaring:
    async def test_declaring_twice_changes_nothing(self, transport):
        exchange, queue = Exchange(fresh(), "topic"), Queue(fresh())
        topology = Topology((exchange,), (queue,), (Binding(exchange.name, queue.name, "a.*"),))
        await transport.declare(topology)
        await publish(transport, b"1", exchange=exchange.name, key="a.b")
        await transport.declare(topology)
        await publish(transport, b"2", exchange=exchange.name, key="a.b")
        await holds(transport, queue.name, 2)
        assert await drain(transport, queue.name, 2) == [b"1", b"2"]

    async def test_other_arguments_are_refused_and_nothing_else_suffers(self, transport, queue):
        exchange = await declare_exchange(transport, "topic")
        with pytest.raises(ConfigurationError):
            await declare(transport, Queue(queue, dead_letter_exchange=exchange))
        with pytest.raises(ConfigurationError):
            await declare(transport, Exchange(exchange, "fanout"))
        await publish(transport, b"1", key=queue)
        assert await drain(transport, queue, 1) == [b"1"]

    async def test_a_queue_of_an_earlier_version_is_used_as_it_is(self, transport):
        exchange = await declare_exchange(transport, "fanout")
        name = fresh()
        await declare(transport, Queue(name, exchange, delivery_limit=20))
        await declare(transport, Queue(name, exchange))
        with pytest.raises(ConfigurationError):
            await declare(transport, Queue(name))
        await publish(transport, b"1", key=name)
        assert await drain(transport, name, 1) == [b"1"]

    async def test_unbinding_removes_exactly_that_binding(self, transport, queue):
        """Whoever declared it keeps it no longer, once it is gone."""
        exchange = await declare_exchange(transport, "topic")
        await bind(transport, exchange, queue, "a")
        await bind(transport, exchange, queue, "b")
        for there in (1, 0):
            removed = await transport.unbind([Binding(exchange, queue, "a"), Binding(exchange, queue, "never bound")])
            assert removed in {there, None}
            with pytest.raises(Unroutable):
                await publish(transport, b"1", exchange=exchange, key="a")
        await publish(transport, b"2", exchange=exchange, key="b")
        assert await drain(transport, queue, 1) == [b"2"]

    async def test_a_declared_binding_is_used_by_every_later_publish_of_anybody(self, server, transport):
        exchange = await declare_exchange(transport, "fanout")
        async with server.open() as other:
            for _ in range(5):
                queue = await declare_queue(transport)
                await bind(transport, exchange, queue)
                await publish(other, b"1", exchange=exchange, key="")
                await holds(transport, queue, 1)

    async def test_many_may_declare_at_once(self, server):
        """Every process of the product does, when a deployment starts."""
        exchange, queue = Exchange(fresh(), "fanout"), Queue(fresh())
        topology = Topology((exchange,), (queue,), (Binding(exchange.name, queue.name, ""),))
        async with server.open() as one, server.open() as two:
            await asyncio.gather(*(transport.declare(topology) for transport in (one, two) * 3))
            await publish(one, b"1", exchange=exchange.name, key="")
            await holds(two, queue.name, 1)
