"""The part of the transport port's definition about leaving and lost links: what was handed out comes again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from broker.errors import Unavailable, Unconfirmed
from broker.transport import Settlement
from tests.support.eventually import eventually
from tests.support.messaging import (
    SOON,
    drain,
    holds,
    publish,
    publish_until_confirmed,
    take,
)


class TestLeaving:
    async def test_leaving_the_context_returns_what_is_unsettled(self, transport, queue):
        await publish(transport, b"1", b"2", key=queue)
        async with transport.consume(queue, prefetch=10) as inbox:
            await take(inbox, 2)
            assert await transport.depth(queue, timeout=SOON) == 0
        await holds(transport, queue, 2)
        async with transport.consume(queue, prefetch=10) as inbox:
            again = await take(inbox, 2)
        assert sorted((message.body, message.redelivered) for message in again) == [(b"1", True), (b"2", True)]

    async def test_closing_the_transport_returns_what_is_unsettled(self, server, transport, queue):
        await publish(transport, b"1", key=queue)
        async with AsyncExitStack() as later:
            async with server.open() as other:
                inbox = await later.enter_async_context(other.consume(queue, prefetch=10))
                await take(inbox, 1)
            async with transport.consume(queue, prefetch=10) as inbox:
                [again] = await take(inbox, 1)
        assert (again.body, again.redelivered) == (b"1", True)

    async def test_settling_after_leaving_is_passed_over(self, transport, queue):
        await publish(transport, b"1", key=queue)
        async with transport.consume(queue, prefetch=10) as inbox:
            taken = await take(inbox, 1)
        await inbox.settle(taken, Settlement.ACK)
        assert await drain(transport, queue, 1) == [b"1"]


class TestLosingTheLink:
    @pytest.mark.slow
    async def test_the_inbox_is_re_established_and_the_unsettled_come_again(self, server, transport, queue):
        await publish(transport, b"1", key=queue)
        async with transport.consume(queue, prefetch=1) as inbox:
            [lost] = await take(inbox, 1)
            await server.cut()
            [again] = await take(inbox, 1)
            assert (again.body, again.redelivered) == (b"1", True)
            await inbox.settle([lost], Settlement.ACK)
            await holds(transport, queue, 0)
        assert await drain(transport, queue, 1) == [b"1"]

    @pytest.mark.slow
    async def test_it_is_ready_linked_and_consuming_again(self, server, transport, queue):
        await eventually(lambda: transport.ready and transport.linked and transport.consuming)
        async with transport.consume(queue, prefetch=1) as inbox:
            await eventually(lambda: transport.consuming)
            lost = asyncio.create_task(eventually(lambda: not transport.consuming, every=0.001))
            await server.cut()
            await lost
            await eventually(lambda: transport.ready and transport.linked and transport.consuming)
            await publish_until_confirmed(transport, b"1", key=queue)
            assert [message.body for message in await take(inbox, 1)] == [b"1"]

    @pytest.mark.slow
    async def test_every_publish_in_flight_gets_an_answer_and_no_confirmed_one_is_lost(self, server, transport, queue):
        async def attempt(i):
            try:
                await publish(transport, b"%d" % i, key=queue)
            except (Unavailable, Unconfirmed):
                return None
            return b"%d" % i

        publishing = asyncio.gather(*(attempt(i) for i in range(2000)))
        await asyncio.sleep(0)
        await server.cut()
        confirmed = {body for body in await publishing if body}
        await publish_until_confirmed(transport, b"-1", key=queue)
        stored = set()
        async with transport.consume(queue, prefetch=500) as inbox:
            while b"-1" not in stored:
                taken = await inbox.receive(500)
                stored |= {message.body for message in taken}
                await inbox.settle(taken, Settlement.ACK)
        assert confirmed <= stored
