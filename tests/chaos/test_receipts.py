"""What a queue got is taken to the last message, or the comparison of the books would name losses that are none."""

from __future__ import annotations

import pytest

from tests.support import queues
from tests.support.ledger import messages_of


@pytest.mark.slow
async def test_a_queue_is_emptied_to_the_last_message(rabbitmq_url):
    queue = await queues.declare(rabbitmq_url)
    await queues.fill(rabbitmq_url, queue, 2500)
    (taken,) = await queues.take(rabbitmq_url, queue)
    assert len(taken) == 2500
    assert await queues.take(rabbitmq_url, queue) == [[]]


@pytest.mark.slow
async def test_a_queue_that_is_gone_is_a_violation_and_the_others_are_compared_all_the_same(rabbitmq_url):
    gone = []
    assert await messages_of(rabbitmq_url, "absent", gone) == []
    (sentence,) = gone
    assert sentence.startswith("the queue absent cannot be read: NOT_FOUND - no queue 'absent'")
