"""An attempt is begun again only if it may not have been made, and its outcome is stored once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.deliveries import DeliveryState, DueAttempt, Outcome, Reason, Result, Step
from broker.store.deliveries.attempts import Claimed
from broker.store.deliveries.pausing import PausingStore
from broker.store.signals.signals import SignalStore
from broker.subscriptions import SubscriptionSpec
from tests.support.attempts import claim, finish
from tests.support.builders import QUEUE, RESCUE_AFTER, SECOND, accept, ended, record
from tests.support.listing import listed

AT_ONCE = timedelta(0)


@pytest.fixture
async def due(subscriptions, database):
    await subscriptions.create(SubscriptionSpec(name="a", targets=(QUEUE,)), secret=None)
    (due,) = await record(database, *await accept(database, "a"))
    return due


async def state(deliveries, due):
    return (await deliveries.get((due.signal_id, due.subscription_id))).delivery.state


async def attempts_of(deliveries, due):
    """Return the number and the outcome of each attempt at the delivery, and how many were begun."""
    attempts = await deliveries.attempts((due.signal_id, due.subscription_id))
    details = await deliveries.get((due.signal_id, due.subscription_id))
    return [(one.number, one.result.outcome.value) for one in attempts], details.delivery.attempt_count


async def rescue(deliveries, database):
    """Return what is rescued, as if it were overdue."""
    await database.execute("UPDATE deliveries SET due_at = now() WHERE state = 'pending'")
    return await deliveries.rescue("", limit=1, rescue_after=RESCUE_AFTER)


@pytest.mark.slow
async def test_a_redelivered_message_makes_the_next_attempt_unless_its_own_has_ended(due, attempts, deliveries):
    (first,) = await claim(attempts, due, redelivered=True)
    assert (first.again, first.due.attempt) == (False, 1), "it was not begun before"
    assert await claim(attempts, due) == [None], "it was begun, and not redelivered"
    (second,) = await claim(attempts, due, redelivered=True)
    (third,) = await claim(attempts, due, redelivered=True)
    assert [(one.again, one.due.attempt, one.uncounted) for one in (second, third)] == [(True, 2, 1), (True, 3, 2)]
    assert await attempts_of(deliveries, due) == ([(1, "interrupted"), (2, "interrupted")], 3)
    await finish(attempts, ended(third, DeliveryState.PARKED, pause=AT_ONCE))
    (following,) = await deliveries.release(limit=1, rescue_after=RESCUE_AFTER)
    assert following.attempt == 4
    assert await claim(attempts, due, redelivered=True) == [None], "it has ended, and another attempt is due"
    (fourth,) = await claim(attempts, following)
    assert await claim(attempts, due, redelivered=True) == [None], "the next one is under way"
    await finish(attempts, ended(fourth, DeliveryState.DELIVERED))
    assert (await attempts_of(deliveries, due))[0][2:] == [(3, "refused"), (4, "succeeded")]


async def test_an_interrupted_attempt_began_at_some_moment_and_took_nobody_knows_how_long(
    due, attempts, deliveries, database
):
    await claim(attempts, due)
    begun_at = await database.fetchval("SELECT begun_at FROM deliveries")
    await claim(attempts, due, redelivered=True)
    (interrupted,) = await deliveries.attempts((due.signal_id, due.subscription_id))
    assert (interrupted.started_at, interrupted.duration) == (begun_at, None)
    assert interrupted.result == Result(
        outcome=Outcome.INTERRUPTED,
        error="the deliverer was lost before it stored an outcome; the request may have been made",
    )


async def test_an_outcome_that_is_stored_twice_changes_nothing_the_second_time(due, attempts, deliveries):
    """As when the commit succeeded and its answer was lost."""
    (claimed,) = await claim(attempts, due)
    outcome = ended(claimed, DeliveryState.PARKED, pause=AT_ONCE)
    await finish(attempts, outcome)
    (following,) = await deliveries.release(limit=1, rescue_after=RESCUE_AFTER)
    await finish(attempts, outcome)
    assert await state(deliveries, due) is DeliveryState.PENDING
    assert isinstance((await claim(attempts, following))[0], Claimed)


async def test_an_outcome_wins_over_a_rescue_that_has_not_begun_another_attempt(due, attempts, deliveries, database):
    (claimed,) = await claim(attempts, due)
    rescued = await rescue(deliveries, database)
    assert (rescued.due_attempts, rescued.begun) == ([DueAttempt(due.signal_id, due.subscription_id, 2)], 1)
    assert await attempts_of(deliveries, due) == ([(1, "interrupted")], 1)
    await finish(attempts, ended(claimed, DeliveryState.DELIVERED))
    assert await claim(attempts, *rescued.due_attempts) == [None]
    assert await state(deliveries, due) is DeliveryState.DELIVERED
    assert await attempts_of(deliveries, due) == ([(1, "succeeded")], 1)


async def test_an_attempt_that_outlived_its_deadline_is_interrupted(due, attempts, deliveries, database):
    await claim(attempts, due)
    (second,) = await claim(attempts, *(await rescue(deliveries, database)).due_attempts)
    assert (second.due.attempt, second.uncounted, second.again) == (2, 1, False)
    assert (await rescue(deliveries, database)).begun == 1
    rescued = await rescue(deliveries, database)
    assert (rescued.begun, rescued.due_attempts[0].attempt) == (0, 3), "the message was lost, and no attempt"
    assert await attempts_of(deliveries, due) == ([(1, "interrupted"), (2, "interrupted")], 2)


async def test_a_failure_that_was_overtaken_leaves_the_delivery_alone(due, attempts, deliveries, database):
    (claimed,) = await claim(attempts, due)
    (second,) = await claim(attempts, *(await rescue(deliveries, database)).due_attempts)
    await finish(attempts, ended(claimed, DeliveryState.DEAD))
    assert await state(deliveries, due) is DeliveryState.PENDING
    await finish(attempts, ended(second, DeliveryState.DELIVERED))
    assert await state(deliveries, due) is DeliveryState.DELIVERED
    assert await attempts_of(deliveries, due) == ([(1, "refused"), (2, "succeeded")], 2)


async def test_a_success_that_was_overtaken_is_a_success(due, attempts, deliveries):
    """Only the link of the first deliverer was lost. The second one's receiver may refuse the repeat."""
    (first,) = await claim(attempts, due)
    (second,) = await claim(attempts, due, redelivered=True)
    await finish(attempts, ended(first, DeliveryState.DELIVERED))
    assert await state(deliveries, due) is DeliveryState.DELIVERED
    assert await attempts_of(deliveries, due) == ([(1, "succeeded")], 2)
    await finish(attempts, ended(second, DeliveryState.PARKED, pause=AT_ONCE, status=409))
    assert await state(deliveries, due) is DeliveryState.DELIVERED
    assert await attempts_of(deliveries, due) == ([(1, "succeeded"), (2, "refused")], 2)


async def test_an_attempt_is_interrupted_even_if_no_other_one_follows(due, attempts, deliveries, database):
    await claim(attempts, due)
    await database.execute("UPDATE deliveries SET state = 'cancelled', due_at = NULL")
    assert await claim(attempts, due, redelivered=True) == [None]
    assert await attempts_of(deliveries, due) == ([(1, "interrupted")], 1)


async def test_a_delivery_that_has_to_wait_after_an_interruption_keeps_the_number(due, attempts, deliveries, database):
    await claim(attempts, due)
    await PausingStore(database).pause(due.subscription_id)
    (deferred,) = await claim(attempts, due, redelivered=True)
    assert deferred.reason is Reason.PAUSED
    assert await state(deliveries, due) is DeliveryState.PARKED
    assert await attempts_of(deliveries, due) == ([(1, "interrupted")], 1)


async def test_an_attempt_of_the_version_before_is_repeated_with_the_next_number(due, attempts, deliveries, database):
    """That version does not note when an attempt began."""
    await database.execute("UPDATE deliveries SET attempts = 1")
    (second,) = await claim(attempts, due, redelivered=True)
    assert (second.due.attempt, second.uncounted, second.again) == (2, 0, True)
    assert await attempts_of(deliveries, due) == ([], 2)


async def test_the_version_before_can_read_an_interrupted_attempt(due, attempts, database):
    await claim(attempts, due)
    await claim(attempts, due, redelivered=True)
    (row,) = await database.fetch("SELECT number, duration, outcome, status, steps FROM attempts")
    assert tuple(row) == (1, 0, "failed", None, None)


async def test_interrupted_attempts_can_be_asked_for(due, attempts, deliveries):
    await claim(attempts, due)
    await claim(attempts, due, redelivered=True)
    assert [one.id for one in await listed(deliveries, outcome=Outcome.INTERRUPTED)] == [due.delivery_id]
    assert await listed(deliveries, outcome=Outcome.FAILED) == []


def made(*numbers):
    """Return steps that succeeded."""
    succeeded = Result(outcome=Outcome.SUCCEEDED)
    return tuple(Step(number=number, address=None, result=succeeded, duration=SECOND) for number in numbers)


async def test_the_steps_made_so_far_are_kept_when_the_attempt_is_interrupted(due, attempts, deliveries, database):
    (first,) = await claim(attempts, due)
    await attempts.note_steps(first.due, made(1))
    await attempts.note_steps(first.due, made(1, 2))
    assert await attempts_of(deliveries, due) == ([], 1), "it is under way"
    assert await listed(deliveries, outcome=Outcome.INTERRUPTED) == []
    await claim(attempts, due, redelivered=True)
    assert await database.fetchval("SELECT steps_done FROM deliveries") == 2
    (interrupted,) = await deliveries.attempts((due.signal_id, due.subscription_id))
    assert [step.number for step in interrupted.steps] == [1, 2]
    assert (interrupted.duration, interrupted.result.outcome) == (None, Outcome.INTERRUPTED)


async def test_an_outcome_replaces_the_steps_that_were_noted_before_it(due, attempts, deliveries):
    (claimed,) = await claim(attempts, due)
    await attempts.note_steps(claimed.due, made(1))
    await finish(attempts, ended(claimed, DeliveryState.DELIVERED, steps=made(1, 2)))
    assert await attempts_of(deliveries, due) == ([(1, "succeeded")], 1)
    await attempts.note_steps(claimed.due, made(1))
    (attempt,) = await deliveries.attempts((due.signal_id, due.subscription_id))
    assert [step.number for step in attempt.steps] == [1, 2]


async def test_an_attempt_that_was_overtaken_notes_no_steps(due, attempts, deliveries, database):
    (first,) = await claim(attempts, due)
    await claim(attempts, due, redelivered=True)
    await attempts.note_steps(first.due, made(1))
    assert await database.fetchval("SELECT steps_done FROM deliveries") == 0


async def test_a_message_that_was_never_begun_is_rescued_and_no_repeat(due, deliveries, database):
    await database.execute("UPDATE deliveries SET due_at = now()")
    assert (await deliveries.rescue("", limit=1, rescue_after=RESCUE_AFTER)).begun == 0


async def test_signals_that_are_recorded_already_are_counted(due, database):
    signals = await accept(database, *"bb")
    store = SignalStore(database)
    assert (await store.record(signals[:1], rescue_after=RESCUE_AFTER)).repeats == 0
    assert (await store.record(signals, rescue_after=RESCUE_AFTER)).repeats == 1
