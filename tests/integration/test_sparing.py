"""The store's half of `Retry-After`: a target that asks for no requests gets none from who was told so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from broker.access import ADMINISTRATOR
from broker.admission import Deferred
from broker.circuits import Phase
from broker.deliveries import DeliveryState, Outcome, Reason, Result
from broker.store.deliveries.attempts import Claimed
from broker.store.deliveries.pausing import PausingStore
from broker.targets import QueueTarget, WebhookTarget
from tests.support.admission import circuit_phase, owe_attempts
from tests.support.attempts import claim, finish, sweep_waiting
from tests.support.builders import SECOND, ended

HOOK, OTHER = (WebhookTarget(url=f"https://example.com/{path}") for path in ("hook", "other"))
MINUTE = timedelta(minutes=1)


@pytest.fixture
def owe(database, subscriptions):
    """Call it to return so many due attempts of a new subscription."""
    return partial(owe_attempts, database, subscriptions, targets=(HOOK,))


@pytest.fixture
def answer(attempts):
    """Call it to end claimed attempts with an answer of their target."""

    async def answer(*claimed, status=429, retry_after=MINUTE):
        state, outcome = (
            (DeliveryState.DELIVERED, Outcome.SUCCEEDED) if status == 200 else (DeliveryState.PARKED, Outcome.THROTTLED)
        )
        result = Result(outcome=outcome, status=status, retry_after=None if status == 200 else retry_after)
        return await finish(
            attempts,
            *(replace(ended(one, state, pause=MINUTE, address=HOOK.circuit), result=result) for one in claimed),
        )

    return answer


async def reasons(attempts, *due_attempts):
    return [one.reason if isinstance(one, Deferred) else None for one in await claim(attempts, *due_attempts)]


@pytest.mark.slow
async def test_a_target_that_asks_for_a_pause_is_spared_by_the_subscription_alone(owe, attempts, answer, database):
    """The receiver may have told it because of a key of its own."""
    (first, *more), (other,), (limited,) = await owe(3), await owe(), await owe(max_in_flight=1)
    (claimed,) = await claim(attempts, first)
    (effects,) = await answer(claimed)
    assert effects.circuit is Phase.OPEN
    assert [type(one) for one in await claim(attempts, other, limited)] == [Claimed] * 2
    answers = await claim(attempts, *more)
    second = more[0]
    assert [one.reason for one in answers] == [Reason.THROTTLED] * 2
    row = await database.fetchrow("SELECT * FROM deliveries WHERE signal_id = $1", second.signal_id)
    assert (row["state"], row["reason"], row["due_at"], row["attempts"]) == ("parked", "throttled", None, 0)
    spared = await database.fetchval("SELECT retry_at - now() FROM circuits WHERE awaited")
    assert MINUTE - 5 * SECOND < spared <= MINUTE


async def test_what_was_under_way_does_not_end_the_pause_even_if_it_succeeds(owe, attempts, answer, database):
    one, other, late, *rest = await owe(5)
    claimed = await claim(attempts, one, other)
    await answer(claimed[0])
    (effects,) = await answer(claimed[1], status=200)
    assert effects.circuit is None
    assert await reasons(attempts, late) == [Reason.THROTTLED]
    await database.execute("UPDATE circuits SET retry_at = now(), spared_until = now()")
    probe, *refused = await claim(attempts, *rest)
    assert probe.admitted.probe
    assert [one.reason for one in refused] == [Reason.CIRCUIT] * len(refused)
    (effects,) = await answer(probe, status=200)
    assert effects.circuit is Phase.CLOSED
    assert await database.fetchval("SELECT count(*) FROM circuits WHERE retry_at IS NOT NULL") == 0


async def test_an_attempt_of_several_steps_spares_the_targets_of_the_later_ones(owe, attempts, answer):
    first, second = await owe(2, targets=(OTHER, QueueTarget(queue="q"), HOOK))
    await answer(*await claim(attempts, first), status=503)
    assert await reasons(attempts, second) == [Reason.THROTTLED]


async def test_a_later_step_that_only_fails_holds_up_no_step_before_it(owe, attempts, answer):
    first, second = await owe(2, targets=(OTHER, HOOK))
    await answer(*await claim(attempts, first), status=502)
    assert isinstance((await claim(attempts, second))[0], Claimed)


async def due_now(database):
    return await database.fetchval("SELECT count(*) FROM deliveries WHERE due_at <= now() AND reason = 'throttled'")


async def test_an_operator_who_resumes_a_subscription_ends_its_pause(owe, attempts, answer, database, pausing):
    first, *others = await owe(5)
    await answer(*await claim(attempts, first))
    assert await reasons(attempts, *others) == [Reason.THROTTLED] * 4
    await sweep_waiting(pausing)
    assert await due_now(database) == 0
    await pausing.resume(first.subscription_id, per_second=None)
    assert await circuit_phase(database, first.subscription_id) is Phase.CLOSED
    counts = []
    for _ in range(3):
        await sweep_waiting(PausingStore(database, limit=2))
        counts.append(await due_now(database))
    assert counts == [2, 4, 4], "two of a subscription at a time"
    assert await database.fetchval("SELECT count(*) FROM gates WHERE recalling") == 0


@pytest.fixture
def change(subscriptions):
    async def change(due, **changes):
        await subscriptions.change(
            due.subscription_id, lambda spec: replace(spec, **changes), secret=b"", by=ADMINISTRATOR
        )

    return change


async def test_with_a_new_target_deliveries_do_not_wait_for_the_old_one(owe, attempts, answer, database, change):
    first, second = await owe(2)
    await answer(*await claim(attempts, first))
    await claim(attempts, second)
    pausing = PausingStore(database)
    await pausing.pause(first.subscription_id)
    for targets, due in (((HOOK,), 0), ((OTHER,), 1)):
        await change(first, targets=targets)
        await sweep_waiting(pausing)
        assert await due_now(database) == due


async def test_a_trial_that_makes_no_request_leaves_it_to_the_next_one(owe, attempts, answer, database):
    first, *rest = await owe(3)
    await answer(*await claim(attempts, first))
    await database.execute("UPDATE circuits SET retry_at = now(), spared_until = now()")
    trial, _ = await claim(attempts, *rest)
    assert trial.admitted.probe
    await attempts.take_back(trial)
    (following,) = await claim(attempts, trial.due)
    assert following.admitted.probe
