"""The subscriptions of attempts are read once, and again as soon as they have changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from broker.access import ADMINISTRATOR
from broker.targets import WebhookTarget
from tests.support.admission import owe_attempts
from tests.support.attempts import claim

OTHER = WebhookTarget(url="https://example.com/other")
CHANGES = {"targets": (OTHER,), "timeout": timedelta(seconds=7), "ordered": True, "schedule": (timedelta(minutes=3),)}


@pytest.fixture
def owe(database, subscriptions):
    """Call it to return so many due attempts of a new subscription."""
    return partial(owe_attempts, database, subscriptions)


@pytest.mark.parametrize("limits", [{}, {"max_in_flight": 5}])
async def test_subscriptions_that_have_not_changed_are_not_read_again(owe, attempts, limits):
    (first, second, third), (other,) = await owe(3, **limits), await owe()
    together = await claim(attempts, first, other, second)
    assert [one.subscription.id for one in together] == [one.due.subscription_id for one in together]
    (later,) = await claim(attempts, third)
    assert together[0].subscription is together[2].subscription is later.subscription


@pytest.mark.parametrize("limits", [{}, {"max_in_flight": 5}])
@pytest.mark.parametrize("option", CHANGES)
async def test_an_attempt_is_claimed_with_what_its_subscription_is_by_then(
    owe, attempts, subscriptions, option, limits
):
    first, second = await owe(2, **limits)
    (before,) = await claim(attempts, first)
    change = {option: CHANGES[option]}
    await subscriptions.change(
        first.subscription_id, lambda spec: replace(spec, **change), secret=b"", by=ADMINISTRATOR
    )
    (after,) = await claim(attempts, second)
    assert after.subscription.spec == replace(before.subscription.spec, **change)
