"""Circuits in the store: each failing target of a subscription is left alone, and tried by one attempt at a time."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import pytest

from broker import circuits
from broker.access import ADMINISTRATOR
from broker.circuits import Phase
from broker.deliveries import DeliveryState, DueAttempt, Outcome, Reason
from broker.store.deliveries.attempts import Claimed
from broker.subscriptions import SubscriptionSpec
from broker.targets import WebhookTarget
from tests.support import attempts as attempt_support
from tests.support import builders
from tests.support.admission import WEBHOOK, circuit_phase, finish, owe_attempts, standing
from tests.support.attempts import claim
from tests.support.builders import RESCUE_AFTER, SECOND, accept, record


class Longest(random.Random):
    """Chance that keeps every circuit open for as long as it may be."""

    def random(self):
        return 1.0


@pytest.fixture(autouse=True)
def _whole_windows(monkeypatch):
    monkeypatch.setattr(circuits, "random", Longest())


@pytest.fixture
def owe(database, subscriptions):
    """Call it to return so many due attempts of a new subscription."""
    return partial(owe_attempts, database, subscriptions)


async def fail(attempts, due_attempts):
    claimed = await claim(attempts, *due_attempts)
    return await finish(attempts, *claimed, outcome=Outcome.TIMED_OUT, status=None)


async def test_a_target_that_never_failed_has_no_circuit(owe, deliveries, attempts, database):
    due_attempts = await owe(3)
    claimed = await claim(attempts, *due_attempts)
    await finish(attempts, *claimed)
    assert await database.fetchval("SELECT count(*) FROM circuits") == 0


async def test_a_target_that_fails_often_enough_is_tried_by_one_attempt_at_a_time(
    owe, deliveries, attempts, database, pausing
):
    *failing, first, second = await owe(22)
    *_, last = await fail(attempts, failing)
    assert last.circuit is Phase.OPEN
    await database.execute("UPDATE circuits SET retry_at = now() + interval '10 seconds'")
    (refusal,) = await claim(attempts, first)
    assert refusal.reason is Reason.CIRCUIT
    assert await standing(deliveries, first) == ("parked", "circuit", 0)
    assert await circuit_phase(database, first.subscription_id) is Phase.OPEN

    await database.execute("UPDATE circuits SET retry_at = now()")
    await database.execute("UPDATE deliveries SET due_at = now() WHERE reason = 'circuit'")
    assert await circuit_phase(database, first.subscription_id) is Phase.HALF_OPEN
    (released,) = await deliveries.release(limit=10, rescue_after=RESCUE_AFTER)
    probe, refusal = await claim(attempts, released, second)
    assert probe.admitted.probe
    assert refusal.reason is Reason.CIRCUIT

    (finished,) = await finish(attempts, probe)
    assert finished.circuit is Phase.CLOSED
    assert await circuit_phase(database, first.subscription_id) is Phase.CLOSED


async def test_a_circuit_holds_up_no_other_subscription_that_delivers_to_the_same_target(
    owe, attempts, pausing, database
):
    *failing, held = await owe(21)
    (due,) = await owe(1)
    await fail(attempts, failing)
    assert (await attempts.claim(held)).reason is Reason.CIRCUIT
    claimed = await attempts.claim(due)
    assert isinstance(claimed, Claimed)
    assert not claimed.admitted.circuit
    await finish(attempts, claimed)
    assert await circuit_phase(database, due.subscription_id) is Phase.CLOSED
    assert await circuit_phase(database, held.subscription_id) is not Phase.CLOSED
    assert (await pausing.census()).circuits == 1


async def test_a_circuit_lasts_once_it_is_open_for_the_longest_and_an_active_subscription_waits(
    owe, attempts, database, pausing
):
    due_attempts = await owe(21)
    await fail(attempts, due_attempts)
    id_ = due_attempts[0].subscription_id
    assert (await pausing.census())[:2] == (1, 0)
    await database.execute("UPDATE circuits SET openings = $1, awaited = true", circuits.LASTING - 1)
    assert (await pausing.census())[:2] == (1, 0)
    await database.execute("UPDATE circuits SET openings = $1", circuits.LASTING)
    assert (await pausing.census())[:2] == (1, 1)
    await pausing.pause(id_)
    assert (await pausing.census())[:2] == (1, 0)
    await pausing.resume(id_, per_second=None)
    assert (await pausing.census())[:2] == (0, 0)


async def test_a_former_target_keeps_its_circuit_and_gives_it_to_no_other(owe, attempts, subscriptions):
    *failing, held, again, _ = await owe(23)
    await fail(attempts, failing)

    async def retarget(target):
        await subscriptions.change(
            held.subscription_id, lambda spec: replace(spec, targets=(target,)), secret=b"", by=ADMINISTRATOR
        )

    await retarget(WebhookTarget(url="https://example.com/other"))
    assert isinstance(await attempts.claim(held), Claimed)
    await retarget(WebhookTarget(url=WEBHOOK.url, headers={"Authorization": "another"}))
    assert (await attempts.claim(again)).reason is Reason.CIRCUIT


async def test_credentials_in_a_url_make_no_other_target_and_are_in_no_circuit(
    subscriptions, attempts, database, pausing
):
    targets = [WebhookTarget(url=f"https://me:{one}@example.com/hook?token={one}") for one in ("s3cr3t", "other")]
    subscription = await subscriptions.create(SubscriptionSpec(name="sig", targets=(targets[0],)), secret=None)
    (due,) = await record(database, *await accept(database, "sig"))
    failed = builders.ended(
        due, DeliveryState.PARKED, pause=SECOND, outcome=Outcome.TIMED_OUT, address=targets[1].circuit
    )
    await attempt_support.finish(attempts, *[failed] * 20)
    assert await circuit_phase(database, subscription.id) is not Phase.CLOSED
    assert await database.fetchval("SELECT address FROM circuits") == "https://***@example.com/hook?token=***"


async def test_a_deleted_subscription_has_no_circuits(owe, attempts, database, subscriptions, pausing):
    *failing, late = await owe(21)
    (under_way,) = await claim(attempts, late)
    await fail(attempts, failing)
    await subscriptions.delete(late.subscription_id)
    assert await database.fetchval("SELECT count(*) FROM circuits") == 0
    await finish(attempts, under_way, outcome=Outcome.TIMED_OUT, status=None)
    assert await database.fetchval("SELECT count(*) FROM circuits") == 0
    await database.execute("INSERT INTO circuits VALUES ('', '')")
    await database.execute("UPDATE circuits SET subscription_id = $1", late.subscription_id)
    await pausing.forget()
    assert await database.fetchval("SELECT count(*) FROM circuits") == 0


async def test_the_circuit_that_is_shown_is_that_of_whichever_step_fails(subscriptions, attempts, pausing, database):
    steps = tuple(WebhookTarget(url=f"https://example.com/{path}") for path in ("well", "down"))
    subscription = await subscriptions.create(SubscriptionSpec(name="sig", targets=steps), secret=None)
    failed = builders.ended(
        DueAttempt(1, subscription.id, 1),
        DeliveryState.PARKED,
        pause=SECOND,
        outcome=Outcome.TIMED_OUT,
        address=steps[1].circuit,
    )
    await attempt_support.finish(attempts, *[failed] * 20)
    assert await circuit_phase(database, subscription.id) is not Phase.CLOSED


async def test_a_success_in_between_begins_the_count_anew(owe, deliveries, attempts, database):
    *failing, well = await owe(20)
    await fail(attempts, failing)
    (claimed,) = await claim(attempts, well)
    assert claimed.admitted.circuit
    await finish(attempts, claimed)
    assert await database.fetchval("SELECT count(*) FROM circuits") == 0


async def test_an_address_longer_than_an_index_takes_has_a_circuit_too(subscriptions, attempts, pausing, database):
    target = WebhookTarget(url="https://example.com/" + "€" * 2000)
    subscription = await subscriptions.create(SubscriptionSpec(name="sig", targets=(target,)), secret=None)
    failed = builders.ended(
        DueAttempt(1, subscription.id, 1),
        DeliveryState.PARKED,
        pause=SECOND,
        outcome=Outcome.TIMED_OUT,
        address=target.circuit,
    )
    await attempt_support.finish(attempts, *[failed] * 20)
    assert await circuit_phase(database, subscription.id) is not Phase.CLOSED


async def test_circuits_that_nobody_asks_about_any_more_are_forgotten(owe, deliveries, attempts, database, pausing):
    await fail(attempts, await owe(1))
    await pausing.forget()
    assert await database.fetchval("SELECT count(*) FROM circuits") == 1
    await database.execute("UPDATE circuits SET changed_at = now() - interval '25 hours'")
    await pausing.forget()
    assert await database.fetchval("SELECT count(*) FROM circuits") == 0
