"""A suspended consumer keeps what it has received, and leaves everything else to the others."""

from __future__ import annotations

import pytest

from broker.transport import Settlement
from tests.support.eventually import eventually
from tests.support.messaging import holds, nothing_comes, publish, publish_until_confirmed, take


async def test_what_a_suspended_consumer_has_not_received_goes_to_others(server, transport, queue):
    await publish(transport, b"1", b"2", b"3", key=queue)
    async with transport.consume(queue, prefetch=10) as inbox:
        (first,) = await take(inbox, 1)
        inbox.suspend()
        await publish(transport, b"4", key=queue)
        async with server.open() as other, other.consume(queue, prefetch=10) as theirs:
            got = await take(theirs, 3)
            await theirs.settle(got, Settlement.ACK)
        assert (first.body, sorted(message.body for message in got)) == (b"1", [b"2", b"3", b"4"])
        await inbox.settle([first], Settlement.ACK)
    await holds(transport, queue, 0)


async def test_what_a_suspended_consumer_returns_does_not_come_back_to_it(transport, queue):
    await publish(transport, b"1", key=queue)
    async with transport.consume(queue, prefetch=10) as inbox:
        got = await take(inbox, 1)
        inbox.suspend()
        await publish(transport, b"2", key=queue)
        await holds(transport, queue, 1)
        await inbox.settle(got, Settlement.RETURN)
        await holds(transport, queue, 2)
        await nothing_comes(inbox)


async def test_a_suspended_consumer_is_not_missed_and_goes_on_when_it_is_resumed(transport, queue):
    async with transport.consume(queue, prefetch=1) as inbox:
        await eventually(lambda: transport.consuming)
        inbox.suspend()
        await publish(transport, b"1", b"2", key=queue)
        assert transport.consuming
        inbox.resume()
        for body in (b"1", b"2"):
            (message,) = await take(inbox, 1)
            assert message.body == body
            await inbox.settle([message], Settlement.ACK)
        await eventually(lambda: transport.consuming)


@pytest.mark.slow
async def test_a_consumer_that_was_suspended_while_its_link_was_lost_goes_on_when_it_is_resumed(
    server, transport, queue
):
    async with transport.consume(queue, prefetch=1) as inbox:
        await eventually(lambda: transport.consuming)
        inbox.suspend()
        await server.cut()
        await publish_until_confirmed(transport, b"1", key=queue)
        await nothing_comes(inbox)
        inbox.resume()
        (message,) = await take(inbox, 1)
        await inbox.settle([message], Settlement.ACK)
