"""Ids: one ascending order over all gateways, and the order of times."""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime

import pytest

from tests.support.product import client_of
from tests.support.throwing import throw

pytestmark = pytest.mark.transports("embedded", "rabbitmq")


@pytest.mark.slow
async def test_ids_ascend_in_real_time_over_two_gateways(client, second_url, name):
    async with client_of(second_url) as second:
        ids = [(await throw(gateway, name))["id"] for _ in range(20) for gateway in (client, second)]

    assert all(earlier < later for earlier, later in itertools.pairwise(ids))


@pytest.mark.slow
async def test_concurrent_throws_at_two_gateways_have_distinct_ids_in_the_order_of_their_times(
    client, second_url, name
):
    """Whoever is answered before another begins has the lower id, and `createdAt` tells the same order as the ids."""
    clock = asyncio.get_running_loop().time
    spans = []

    async def caller(gateway):
        for _ in range(10):
            begun = clock()
            signal = await throw(gateway, name)
            spans.append((begun, clock(), signal["id"], datetime.fromisoformat(signal["createdAt"])))

    async with client_of(second_url) as second:
        await asyncio.gather(*(caller(gateway) for gateway in (client, second) for _ in range(10)))

    spans.sort(key=lambda span: span[2])
    assert len({span[2] for span in spans}) == 200
    # Two signals of one batch may share a microsecond.
    assert all(first[3] <= second[3] for first, second in itertools.pairwise(spans))
    latest_begin = itertools.accumulate((begun for begun, *_ in spans), max)
    assert all(answered > begun for (_, answered, *_), begun in zip(spans, latest_begin, strict=True))
