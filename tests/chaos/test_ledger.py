"""The ledger knows where every accepted signal is while a recorder hangs."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.support.eventually import eventually
from tests.support.product import client_of
from tests.support.throwing import throw

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


async def test_what_a_hanging_recorder_holds_awaits_its_record(stack):
    """It cannot say what it was handed out meanwhile, but gateways have reported what they accepted."""
    recorder = stack.processes["recorder"].process
    async with client_of(stack.processes["gateway"].url) as client:
        recorder.send_signal(signal.SIGSTOP)
        try:
            await asyncio.gather(*(throw(client, "books") for _ in range(20)))
            await eventually(lambda: awaits(client, 20))
        finally:
            recorder.send_signal(signal.SIGCONT)
        await eventually(lambda: awaits(client, 0))


async def awaits(client, count):
    books = await client.get("/v1/ledger")
    assert (books["lost"], books["unaccounted"]) == (0, 0)
    return books["awaitingRecord"] == count
