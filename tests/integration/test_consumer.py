"""A call that takes long may let others pass, as far as there is room for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from broker import metrics
from broker.errors import StoreUnavailable
from broker.topology import RECORD
from broker.transport import Message, Settlement
from tests.support.eventually import eventually
from workers.consumer import Consumer

SOON = timedelta(seconds=5)


async def test_a_call_that_steps_aside_lets_others_pass_but_not_any_number(embedded):
    begun, over = [], asyncio.Event()

    async def handle(messages):
        begun.append(messages[0].body)
        if messages[0].body.startswith(b"long"):
            consumer.step_aside()
            consumer.step_aside()  # once is enough
            await over.wait()
        return [Settlement.ACK]

    consumer = Consumer(embedded, RECORD, handle, concurrency=1, aside=2)
    for body in (b"short 1", b"long 1", b"long 2", b"short 2", b"long 3", b"short 3"):
        await embedded.publish(Message(body=body, type="a"), exchange="", routing_key=RECORD, timeout=SOON)
    stopping = asyncio.Event()
    running = asyncio.create_task(consumer.run(stopping, drain=SOON))
    await eventually(lambda: len(begun) == 5)
    assert begun == [b"short 1", b"long 1", b"long 2", b"short 2", b"long 3"]
    over.set()
    await eventually(lambda: begun[-1] == b"short 3")
    stopping.set()
    await running


async def test_the_sizes_of_batches_and_those_that_were_postponed_are_counted(embedded):
    sizes, tries = [], []

    async def handle(messages):
        tries.append(len(messages))
        if len(tries) == 1:
            raise StoreUnavailable("away")
        sizes.append(len(messages))
        return [Settlement.ACK] * len(messages)

    def counted(name):
        return metrics.REGISTRY.get_sample_value(f"signal_broker_{name}", {"queue": RECORD}) or 0

    postponed, batches = counted("batches_postponed_total"), counted("batch_messages_count")
    messages = counted("batch_messages_sum")
    for body in (b"1", b"2", b"3"):
        await embedded.publish(Message(body=body, type="a"), exchange="", routing_key=RECORD, timeout=SOON)
    stopping = asyncio.Event()
    running = asyncio.create_task(Consumer(embedded, RECORD, handle, batch=10).run(stopping, drain=SOON))
    await eventually(lambda: sum(sizes) == 3)
    stopping.set()
    await running
    assert counted("batches_postponed_total") - postponed == 1
    assert counted("batch_messages_sum") - messages == 3
    assert counted("batch_messages_count") - batches == len(tries) - 1
