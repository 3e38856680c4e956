"""Waiting for answers of RabbitMQ: a cancelled wait ends as one, whatever aiormq makes of it."""

from __future__ import annotations

import asyncio

import pytest
from aiormq.exceptions import AMQPConnectionError, ChannelNotFoundEntity  # noqa: TID251

from broker.transport.rabbitmq.link import LinkLost, answers


@pytest.mark.parametrize(
    "error", [ChannelNotFoundEntity("no queue"), AMQPConnectionError("lost"), RuntimeError("closed")]
)
async def test_a_cancelled_wait_is_cancelled_although_aiormq_raises_another_error(error):
    """Else the task would go on, and whoever cancelled it would wait for ever."""
    waiting = asyncio.Event()

    async def wait():
        async with answers(10):
            try:
                waiting.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise error from None

    task = asyncio.create_task(wait())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_refusal_during_the_cleanup_of_a_cancelled_task_stays_one():
    refusals = []

    def refuse():
        raise ChannelNotFoundEntity("no queue")

    async def clean_up():
        try:
            await asyncio.Event().wait()
        finally:
            try:
                async with answers(10):
                    refuse()
            except ChannelNotFoundEntity as error:
                refusals.append(error)

    task = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(refusals) == 1


async def test_a_wait_that_aiormq_cancels_is_a_lost_link():
    with pytest.raises(LinkLost):
        async with answers(10):
            raise asyncio.CancelledError


async def test_a_wait_without_an_answer_is_a_lost_link():
    with pytest.raises(LinkLost, match=r"0\.01 s"):
        async with answers(0.01):
            await asyncio.Event().wait()
