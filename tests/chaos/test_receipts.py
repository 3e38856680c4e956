"""What a queue got is taken to the last message, or the comparison of the books would name losses that are none."""

from __future__ import annotations

from tests.support import queues


async def test_a_queue_is_emptied_to_the_last_message(rabbitmq_url):
    queue = await queues.declare(rabbitmq_url)
    await queues.fill(rabbitmq_url, queue, 2500)
    (taken,) = await queues.take(rabbitmq_url, queue)
    assert len(taken) == 2500
    assert await queues.take(rabbitmq_url, queue) == [[]]
