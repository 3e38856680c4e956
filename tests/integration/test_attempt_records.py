"""What was exchanged with a webhook is stored with the attempt, shown, and archived."""

from __future__ import annotations

import json

import pytest

from broker.deliveries import DeliveryState, DueAttempt, Exchange, Outcome, Result, Step
from broker.operations.answers import render_delivery
from broker.store.partitions.detached import DetachedStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import WebhookTarget
from tests.support.attempts import claim, finish
from tests.support.builders import DAY, SECOND, accept, ended, record
from tests.support.history import lines

EXCHANGE = Exchange(
    url="https://hooks.example.com/signals?token=***",
    request_headers={"host": "hooks.example.com", "authorization": "***", "webhook-id": "2-1"},
    location="https://www.hooks.example.com/",
    retry_after="Fri, 27 Nov 2026 10:00:00 GMT",
    address="192.0.2.1:443",
    tls="TLSv1.3",
    reused=False,
    resent="the connection was reset before there was an answer",
    phases={"firstByte": 0.25, "total": 0.5},
)
SHOWN = {
    "request": {
        "url": "https://hooks.example.com/signals?token=***",
        "headers": {"host": "hooks.example.com", "authorization": "***", "webhook-id": "2-1"},
    },
    "answer": {"location": "https://www.hooks.example.com/", "retryAfter": "Fri, 27 Nov 2026 10:00:00 GMT"},
    "connection": {
        "address": "192.0.2.1:443",
        "tls": "TLSv1.3",
        "reused": False,
        "resent": "the connection was reset before there was an answer",
    },
    "phases": {"firstByte": 0.25, "total": 0.5},
}
NOTHING = dict.fromkeys(SHOWN)


async def attempted(database, subscriptions, attempts, **outcome):
    """Make an attempt with that *outcome*; return its delivery's key."""
    targets = (WebhookTarget(url="https://hooks.example.com/signals"),)
    await subscriptions.create(SubscriptionSpec(name="a", targets=targets), secret=b"sealed")
    (due,) = await record(database, *await accept(database, "a"))
    (claimed,) = await claim(attempts, due)
    await finish(attempts, ended(claimed, DeliveryState.DEAD, **outcome))
    return due.signal_id, due.subscription_id


async def shown(deliveries, key):
    """Return the attempts at a delivery as the API shows them."""
    document = render_delivery(await deliveries.get(key), await deliveries.attempts(key))
    return json.loads(document.to_json())["attempts"]


def members(document):
    """Return those members of an attempt, or of a step, that tell of the exchange."""
    return {name: document[name] for name in SHOWN}


async def test_an_attempt_shows_what_was_exchanged(database, subscriptions, attempts, deliveries):
    key = await attempted(database, subscriptions, attempts, status=503, exchange=EXCHANGE)
    (attempt,) = await shown(deliveries, key)
    assert members(attempt) == SHOWN


async def test_each_step_shows_what_was_exchanged_and_the_attempt_what_the_last_one_did(
    database, subscriptions, attempts, deliveries
):
    of_second = Result(outcome=Outcome.SUCCEEDED)
    of_third = Result(outcome=Outcome.REFUSED, exchange=EXCHANGE)
    steps = [
        Step(number=number, address=None, result=result, duration=SECOND)
        for number, result in [(2, of_second), (3, of_third)]
    ]
    key = await attempted(database, subscriptions, attempts, exchange=EXCHANGE, steps=tuple(steps))
    (attempt,) = await shown(deliveries, key)
    assert members(attempt) == SHOWN
    assert [members(step) for step in attempt["steps"]] == [NOTHING, SHOWN], "the second one went to a queue"


async def test_an_attempt_without_a_webhook_shows_nothing(database, subscriptions, attempts, deliveries):
    key = await attempted(database, subscriptions, attempts)
    assert members((await shown(deliveries, key))[0]) == NOTHING
    assert await database.fetchval("SELECT exchanges FROM attempts") is None


@pytest.mark.slow
async def test_what_was_exchanged_is_archived(history, subscription, retention, tmp_path):
    due = DueAttempt((await history.throw()).id, 1, 1)
    await claim(history.attempts, due)
    await finish(history.attempts, ended(due, DeliveryState.DELIVERED, exchange=EXCHANGE))
    await history.close()
    await history.pass_time(31 * DAY)
    await retention(archive_dir=tmp_path).maintain()
    (document,), _ = lines(tmp_path)
    assert members(document["deliveries"][0]["attempts"][0]) == SHOWN


@pytest.mark.slow
async def test_a_partition_that_was_detached_before_attempts_kept_exchanges_is_archived(
    history, subscription, retention, tmp_path, monkeypatch
):
    await history.attempt(await history.throw(), DeliveryState.DELIVERED)
    await history.close()
    await history.pass_time(31 * DAY)
    with monkeypatch.context() as patch:
        patch.setattr(DetachedStore, "pages", None)
        with pytest.raises(TypeError):
            await retention(archive_dir=tmp_path).maintain()
    await history.database.execute("""
        ALTER TABLE retired_attempts_1 DROP COLUMN exchanges, DROP COLUMN interrupted;
        ALTER TABLE retired_deliveries_1 DROP COLUMN begun_at;
        ALTER TABLE retired_signals_1 DROP COLUMN hops;
    """)
    await retention(archive_dir=tmp_path).maintain()
    (document,), _ = lines(tmp_path)
    (attempt,) = document["deliveries"][0]["attempts"]
    assert (attempt["status"], members(attempt)) == (500, NOTHING)
