"""What waits for a target costs nothing until the target can be tried; then one goes, and after it the others."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from broker import circuits
from broker.access import ADMINISTRATOR
from broker.circuits import Phase
from broker.deliveries import Outcome
from broker.store.deliveries.attempts import Claimed
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.trials import TrialStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.targets import WebhookTarget
from tests.integration.test_flow import reach
from tests.support.admission import WEBHOOK, finish, owe_attempts
from tests.support.attempts import attempt_store, claim, sweep_waiting
from tests.support.builders import RESCUE_AFTER, accept, record
from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import FAR, delivery, subscribe, throw

pytestmark = pytest.mark.slow

BEFORE, AFTER = (WebhookTarget(url=f"https://example.com/{path}") for path in ("before", "after"))
DOWN = {"outcome": Outcome.TIMED_OUT, "status": None}


class Desk:
    """One subscription, its deliveries and its circuit."""

    def __init__(self, database):
        self.database = database
        self.attempts, self.deliveries = attempt_store(database), DeliveryStore(database)
        self.pausing, self.trials = PausingStore(database), TrialStore(database)
        self.subscriptions = SubscriptionStore(database)

    async def owe(self, count, **spec):
        return await owe_attempts(self.database, self.subscriptions, count, **spec)

    async def keep_waiting(self, count):
        """Let so many deliveries of a new subscription wait for its target; return its id."""
        *failing, first = await self.owe(21)
        await finish(self.attempts, *await claim(self.attempts, *failing), **DOWN)
        name = await self.database.fetchval("SELECT name FROM subscriptions WHERE id = $1", first.subscription_id)
        waiting = [first, *await record(self.database, *await accept(self.database, *[name] * (count - 1)))]
        await self.open_for(3600)
        assert not any(isinstance(one, Claimed) for one in await claim(self.attempts, *waiting))
        assert await self.waiting() == count
        return first.subscription_id

    async def open_for(self, seconds):
        await self.database.execute(
            "UPDATE circuits SET retry_at = now() + make_interval(secs => $1) WHERE retry_at IS NOT NULL",
            float(seconds),
        )

    async def waiting(self):
        """Return how many deliveries wait for a target."""
        return await self.database.fetchval(
            "SELECT count(*) FROM deliveries WHERE due_at IS NULL AND reason = 'circuit'"
        )

    async def versions(self):
        rows = await self.database.fetch("SELECT signal_id, xmin FROM deliveries WHERE reason = 'circuit'")
        return {row["signal_id"]: row["xmin"] for row in rows}

    async def release(self, count=100):
        return await self.deliveries.release(limit=count, rescue_after=RESCUE_AFTER)

    async def try_target(self, **how):
        """Let the one delivery that was let go be attempted; return what the end of the attempt brought about."""
        (probe,) = await claim(self.attempts, *await self.release())
        assert probe.admitted.probe
        (effects,) = await finish(self.attempts, probe, **how)
        return effects

    async def sweep(self):
        """Let what waits go on by a part; return the attempts that may be made at once."""
        await self.database.execute("UPDATE gates SET caught_up_at = now()")
        return await sweep_waiting(self.pausing)


@pytest.fixture
def desk(database):
    """Return the desk of this test's own database."""
    return Desk(database)


async def test_however_many_wait_a_window_costs_one_delivery(desk):
    await desk.keep_waiting(300)
    untouched = await desk.versions()
    assert (await desk.trials.sweep(), await desk.sweep(), await desk.waiting()) == (0, [], 300)
    for round_ in range(1, 4):
        await desk.open_for(0)
        assert (await desk.trials.sweep(), await desk.waiting()) == (1, 300 - round_)
        assert await desk.trials.sweep() == 0, "it is on its way"
        assert (await desk.try_target(**DOWN)).circuit is Phase.OPEN
        assert (await desk.trials.sweep(), await desk.sweep(), await desk.waiting()) == (0, [], 300 - round_)
    now = await desk.versions()
    assert len(now) == 300 - 3
    assert now.items() <= untouched.items()


async def test_a_delivery_that_does_not_arrive_at_the_target_is_followed_by_another_one(desk):
    await desk.keep_waiting(3)
    await desk.open_for(0)
    assert await desk.trials.sweep() == 1
    await desk.database.execute(
        "UPDATE circuits SET trial_at = now() - interval '11 seconds', retry_at = now() - interval '1 minute'"
    )
    assert (await desk.trials.sweep(), await desk.waiting()) == (1, 1)


async def test_after_a_success_the_others_follow_as_after_a_pause(desk):
    await desk.keep_waiting(300)
    await desk.open_for(0)
    await desk.trials.sweep()
    assert (await desk.try_target()).circuit is Phase.CLOSED
    assert await desk.trials.sweep() == 1
    assert await desk.database.fetchval("SELECT count(*) FROM circuits") == 0
    await desk.sweep()
    moments = [
        row["due_at"]
        for row in await desk.database.fetch(
            "SELECT due_at FROM deliveries WHERE reason = 'circuit' AND due_at IS NOT NULL ORDER BY signal_id"
        )
    ]
    assert 0 < len(moments) < 100, "not all of them at once"
    assert moments == sorted(moments)
    while await desk.waiting():
        await desk.sweep()
    await desk.sweep()
    assert await desk.pausing.find() == {}


async def test_a_pace_that_was_asked_for_holds_after_a_trial_too(desk):
    """The subscription was resumed at that pace, and its target failed before its backlog was through."""
    subscription_id = await desk.keep_waiting(300)
    await desk.database.execute(
        "UPDATE gates SET held = true, catch_up = 3 WHERE subscription_id = $1", subscription_id
    )
    await desk.open_for(0)
    await desk.trials.sweep()
    await desk.try_target()
    await desk.trials.sweep()
    assert await desk.database.fetchval("SELECT catch_up FROM gates") == 3
    await desk.database.execute("UPDATE gates SET held = false")
    await desk.database.execute("DELETE FROM circuits")
    await desk.trials.find_forsaken()
    assert await desk.database.fetchval("SELECT catch_up FROM gates") is None, "that backlog was through"


async def test_if_the_target_fails_again_the_rest_waits_again(desk):
    await desk.keep_waiting(300)
    await desk.open_for(0)
    await desk.trials.sweep()
    await desk.try_target()
    await desk.trials.sweep()
    released = []
    while len(released) < 20:
        await desk.sweep()
        await desk.database.execute(
            "UPDATE deliveries SET due_at = now() WHERE reason = 'circuit' AND due_at IS NOT NULL"
        )
        released += await desk.release(20 - len(released))
    *_, last = await finish(desk.attempts, *await claim(desk.attempts, *released), **DOWN)
    assert last.circuit is Phase.OPEN
    await desk.open_for(3600)
    left = await desk.waiting()
    assert left > 200
    await desk.sweep()
    assert (await desk.pausing.find(), await desk.waiting()) == ({}, left)
    await desk.open_for(0)
    assert (await desk.trials.sweep(), await desk.waiting()) == (1, left - 1)


async def test_a_paused_subscription_tries_nothing(desk):
    subscription_id = await desk.keep_waiting(1)
    await desk.pausing.pause(subscription_id)
    await desk.open_for(0)
    assert await desk.trials.sweep() == 0
    await desk.pausing.resume(subscription_id, per_second=None)
    await desk.sweep()
    assert await desk.waiting() == 0


async def test_a_delivery_goes_to_try_the_target_of_the_step_that_it_has_come_to(desk):
    """An older one begins with the first step, which is well, and waits for nothing."""
    *failing, older, newer = await desk.owe(22, targets=(BEFORE, WEBHOOK, AFTER))
    await desk.database.execute("UPDATE deliveries SET steps_done = 1 WHERE signal_id <> $1", older.signal_id)
    await finish(desk.attempts, *await claim(desk.attempts, *failing), **DOWN)
    await desk.open_for(3600)
    begun, waits = await claim(desk.attempts, older, newer)
    assert (isinstance(begun, Claimed), isinstance(waits, Claimed)) == (True, False)
    await desk.open_for(0)
    assert await desk.trials.sweep() == 1
    assert [due.signal_id for due in await desk.release()] == [newer.signal_id]


async def test_what_waited_for_a_former_target_does_not_wait_any_more(desk):
    subscription_id = await desk.keep_waiting(1)
    await desk.subscriptions.change(
        subscription_id, lambda spec: replace(spec, targets=(AFTER,)), secret=b"", by=ADMINISTRATOR
    )
    await desk.sweep()
    assert await desk.waiting() == 0
    await desk.open_for(0)
    assert await desk.trials.sweep() == 0
    assert await desk.database.fetchval("SELECT count(*) FROM circuits WHERE awaited") == 0


async def test_deliveries_go_on_although_the_circuit_that_they_wait_for_is_gone(desk):
    """A process of the version before drops it when the target succeeds."""
    await desk.keep_waiting(5)
    assert await desk.trials.find_forsaken() == 0
    await desk.database.execute("DELETE FROM circuits")
    assert await desk.trials.find_forsaken() == 1
    assert await desk.trials.find_forsaken() == 0
    await desk.sweep()
    assert await desk.waiting() == 0


async def test_a_circuit_that_deliveries_wait_for_is_not_forgotten(desk):
    await desk.keep_waiting(1)
    await desk.database.execute("UPDATE circuits SET changed_at = now() - interval '25 hours'")
    await desk.pausing.forget()
    assert await desk.database.fetchval("SELECT count(*) FROM circuits") == 1


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_everything_is_delivered_once_the_target_is_up(desk, monkeypatch, seed):
    chance = random.Random(seed)
    monkeypatch.setattr(circuits, "random", chance)
    ready = list(await desk.owe(60))
    subscription_id = ready[0].subscription_id
    for turn in range(400):
        batch = [ready.pop() for _ in range(min(len(ready), chance.choice((1, 5, 25))))]
        claimed = [one for one in await claim(desk.attempts, *batch) if isinstance(one, Claimed)]
        await finish(desk.attempts, *claimed, **({} if turn > 150 or chance.random() < 0.3 else DOWN))
        await desk.database.execute(
            "UPDATE deliveries SET due_at = now() WHERE state = 'parked' AND due_at IS NOT NULL"
        )
        if chance.random() < 0.5:
            await desk.database.execute("UPDATE circuits SET probing_until = NULL, trial_at = NULL")
            await desk.open_for(0)
        if turn < 150 and chance.random() < 0.05:
            await desk.pausing.resume(subscription_id, per_second=None)
        await desk.trials.sweep()
        ready += [*await desk.sweep(), *await desk.release()]
        if await desk.database.fetchval("SELECT count(*) FROM deliveries WHERE state <> 'delivered'") == 0:
            break
    left = await desk.database.fetch("SELECT * FROM deliveries WHERE state <> 'delivered'")
    assert [dict(row) for row in left] == []
    await desk.trials.sweep()
    assert await desk.database.fetchval("SELECT count(*) FROM circuits") == 0


@pytest.mark.transports("embedded", "rabbitmq")
async def test_what_waits_for_a_target_is_delivered_as_soon_as_that_is_up(client, webhooks, name):
    url = webhooks.answer("/", Answer(status=500))
    own = await subscribe(client, name, url, retry=FAR)
    await client.post("/v1/signals/batch", {"signals": [{"name": name}] * 60}, expect=200)

    async def waiting():
        page = await client.get(f"/v1/deliveries?subscriptionId={own['id']}&state=parked")
        return [item for item in page["items"] if item["reason"] == "circuit"]

    found = await eventually(waiting)
    # One of them may have been let go meanwhile, to try the target.
    assert len([item for item in found if item["dueAt"] is not None]) <= 1
    webhooks.answer("/", Answer())

    async def gone():
        # None waits for a moment if the only one that does so far is let go to try the target.
        circuit = (await client.get(f"/v1/subscriptions/{own['id']}"))["circuit"]
        return circuit == "closed" and not await waiting()

    await eventually(gone, within=30)


async def test_an_operator_who_closes_a_circuit_lets_what_waits_go_at_once(client, webhooks, name):
    url = webhooks.answer("/", Answer(status=503, headers={"Retry-After": "3600"}))
    own = await subscribe(client, name, url, retry=FAR)
    await throw(client, name)
    await reach(client, own, parked=1)
    waits = await throw(client, name)
    parked = await delivery(client, waits, own, "parked")
    assert (parked["reason"], parked["dueAt"]) == ("throttled", None)
    webhooks.answer("/", Answer())
    status, _, _ = await client.request("POST", f"/v1/subscriptions/{own['id']}/circuit/close")
    assert status == 204
    await delivery(client, waits, own, "delivered")
    assert (await client.request("POST", "/v1/subscriptions/999999/circuit/close"))[0] == 404
