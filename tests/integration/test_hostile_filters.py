"""Filters that take long: recording goes on, the delivery is dead and says why, and the gateway serves others."""

from __future__ import annotations

import asyncio
from base64 import b64encode

import pytest

from broker.deliveries import EXCEEDED, DeliveryState
from broker.filters import parse_filter
from broker.limits import Pace
from broker.signals import Throw
from broker.store.deliveries.bulk import SignalFilter
from broker.store.deliveries.redrives import RedriveStore
from broker.store.deliveries.replays import ReplayStore
from broker.store.signals.signals import SignalStore
from broker.subscriptions import HeadOfLine, SubscriptionSpec
from tests.support.builders import QUEUE, RESCUE_AFTER, accept
from tests.support.gateways import gateway
from tests.support.hostile import HOSTILE, encode, measuring_lag
from tests.support.listing import listed
from tests.support.throwing import subscribe, throw

pytestmark = pytest.mark.slow

FILTER, PAYLOAD = HOSTILE["regular expressions"]
HARD = parse_filter(FILTER)
EASY = parse_filter({"p": {"operator": "STR_STARTS_WITH", "values": ["x"]}})


@pytest.fixture
def make(subscriptions):
    async def make(name="hosts.seen", **spec):
        return (await subscriptions.create(SubscriptionSpec(name=name, targets=(QUEUE,), **spec), secret=None)).id

    return make


@pytest.fixture
def record(database):
    """Record signals as a recorder does, and return the deliveries that are dead."""
    signals = SignalStore(database)

    async def record(*names, payload=PAYLOAD, key=None):
        left = await accept(database, *(Throw(name=name, payload=encode(payload), ordering_key=key) for name in names))
        dead = []
        while left:
            recorded = await signals.record(left, rescue_after=RESCUE_AFTER)
            dead += recorded.exceeded
            left = recorded.left
        return dead

    return record


async def test_what_exceeds_its_budget_is_dead_and_everything_else_is_recorded(make, record, deliveries, database):
    hard = [await make(filter=HARD, tenant_id="evil", once=number == 0) for number in range(10)]
    plain, other = await make(), await make("somebody.elses", filter=EASY)
    dead = await record(*["hosts.seen"] * 12, "somebody.elses")
    assert {subscription_id for _, subscription_id in dead} == set(hard)
    assert len(dead) == 120
    found = await listed(deliveries, subscription_id=hard[0], limit=1)
    assert [(one.state, one.reason, one.attempt_count) for one in found] == [(DeliveryState.DEAD, EXCEEDED, 0)]
    assert found[0].finished_at is not None
    assert len(await listed(deliveries, subscription_id=plain)) == 12
    assert await listed(deliveries, subscription_id=other) == []
    ledger = await deliveries.ledger()
    assert (ledger.recorded, ledger.matched, ledger.states[DeliveryState.DEAD], ledger.unaccounted) == (13, 132, 120, 0)
    assert await database.fetchval("SELECT count(*) FROM subscriptions WHERE consumed_by IS NOT NULL") == 0


async def test_the_deliveries_behind_it_in_its_ordering_group_do_not_wait(make, record, deliveries):
    ordered = await make(filter=HARD, ordered=True, head_of_line=HeadOfLine.BLOCK)
    assert len(await record("hosts.seen", key="k")) == 1
    assert await record("hosts.seen", key="k", payload={}) == []
    assert [one.state for one in await listed(deliveries, subscription_id=ordered)] == ["dead", "pending"]


async def test_a_redrive_asks_the_filter_again_as_it_is_now(make, record, deliveries, database):
    changed, mismatching, unchanged, once = [await make(filter=HARD, once=n == 3) for n in range(4)]
    assert len(await record("hosts.seen", "hosts.seen")) == 8
    for subscription_id, wanted in (
        (changed, parse_filter({"p": {"operator": "STR_CONTAINS", "values": ["a"]}})),
        (mismatching, EASY),
        (once, parse_filter({"p": {"operator": "STR_CONTAINS", "values": ["a"]}})),
    ):
        await database.execute(
            "UPDATE subscriptions SET filter = $2::json WHERE id = $1",
            subscription_id,
            encode(wanted.document).decode(),
        )
    chunks = RedriveStore(database).redrive(SignalFilter(), Pace(None), dry_run=True)
    assert sum([chunk.count async for chunk in chunks]) == 4
    chunks = RedriveStore(database).redrive(SignalFilter(), Pace(None))
    assert sum([chunk.count async for chunk in chunks]) == 3
    found = {one: [d.state for d in await listed(deliveries, subscription_id=one)] for one in (changed, mismatching)}
    assert found == {changed: ["parked"] * 2, mismatching: ["cancelled"] * 2}
    assert [d.state for d in await listed(deliveries, subscription_id=unchanged)] == ["dead"] * 2
    assert [d.state for d in await listed(deliveries, subscription_id=once)] == ["parked", "cancelled"]
    reason = (await listed(deliveries, subscription_id=mismatching))[0].reason
    assert reason.startswith("the filter does not match: p: ")
    assert (await deliveries.ledger()).unaccounted == 0


async def test_a_replay_makes_dead_what_exceeds_its_budget_and_goes_on(make, record, deliveries, database):
    await record("hosts.seen", "hosts.seen")
    await record("hosts.seen", payload={})
    late = await make(filter=HARD)
    chunks = [chunk async for chunk in ReplayStore(database).replay(late, SignalFilter(), Pace(None))]
    assert sum(chunk.count for chunk in chunks) == 3
    assert [one.state for one in await listed(deliveries, subscription_id=late)] == ["dead", "dead", "parked"]


@pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")
async def test_hostile_requests_do_not_hold_up_the_gateway(database_url, name):
    """The client computes in the same event loop, so the gateway takes less than this."""
    async with gateway(database_url) as (client, _):
        for what in ("regular expressions", "networks", "needles", "alternatives", "ambiguous paths", "many values"):
            for _ in range(3):
                await subscribe(client, f"{name}.hard", filter=HOSTILE[what][0])
        await client.post("/v1/users", {"name": "nobody", "password": "correct horse", "permissions": []}, expect=201)
        nobody = {"Authorization": "Basic " + b64encode(b"nobody:correct horse").decode()}
        wanted = {"name": f"{name}.hard"}

        async def explain(what):
            document = {**wanted, "payload": HOSTILE[what][1]}
            status, _, page = await client.request("POST", "/v1/signals/explain", json=document)
            assert status == 503 or page["matches"], "on a slow machine they may wait too long for one another"

        async def hang_up():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await explain("regular expressions")

        async def be_refused():
            document = wanted | {"variables": {"p": {"value": PAYLOAD["p"], "type": "String"}}}
            status, *_ = await client.request("POST", "/engine-rest/signal", json=document, headers=nobody)
            assert status == 403

        async def throw_meanwhile():
            for _ in range(20):
                await throw(client, f"{name}.good")

        async with measuring_lag() as lag:
            await asyncio.gather(
                *map(explain, ("regular expressions", "networks", "needles", "ambiguous paths")),
                *(hang_up() for _ in range(4)),
                *(be_refused() for _ in range(3)),
                throw_meanwhile(),
            )
    assert lag.longest < 0.05
