"""Leases that are not used are returned: others can have the deliveries, and nothing has failed."""

from __future__ import annotations

import pytest

AT_ONCE = {"schedule": [0, 0, 0]}


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_lease_that_is_returned_lets_others_lease_at_once_and_does_not_count(puller):
    await puller.subscribe(retry={"maxAttempts": 2, "schedule": [600]})
    await puller.throw()
    for _ in range(3):
        leased = await puller.lease_one(worker="busy")
        for _ in range(2):
            assert await puller.settle("return", leased) == [None]
        for what in ("ack", "fail"):
            assert await puller.settle(what, leased) == ["the lease was returned before"]
        assert await puller.settle("extend", leased, leaseSeconds=60) == ["the lease was returned before"]
    last = await puller.lease_one()
    assert last["attempt"] == 4
    assert await puller.settle("fail", last) == [None]
    assert await puller.settle("return", last) == ["the lease was failed before"]
    delivery = await puller.delivery(last)
    told = [(one["outcome"], one["error"], one["worker"]) for one in delivery["attempts"]]
    assert told == [("refused", "the lease was returned", "busy")] * 3 + [
        ("refused", "the caller did not say why", None)
    ]
    assert (delivery["state"], delivery["reason"]) == ("parked", "retry"), "one of its two attempts is left"


async def test_a_lease_that_is_returned_gives_its_place_to_another(puller):
    await puller.subscribe(maxInFlight=1, retry=AT_ONCE)
    await puller.throw()
    await puller.throw()
    first = await puller.lease_one()
    assert await puller.lease() == []
    assert await puller.settle("return", first) == [None]
    assert (await puller.lease_one())["attempt"] in {1, 2}


async def test_of_leases_that_are_returned_together_each_has_its_own_result(puller):
    await puller.subscribe(retry=AT_ONCE)
    for _ in range(3):
        await puller.throw()
    one, two, three = [await puller.lease_one() for _ in range(3)]
    assert await puller.settle("ack", two) == [None]
    stranger = {"leaseToken": "lease_nobody"}
    assert await puller.settle("return", one, two, three, stranger) == [
        None,
        "the lease was acknowledged before",
        None,
        "there is no such lease, or it ended long ago",
    ]
