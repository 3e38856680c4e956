"""Credentials in the targets of subscriptions are sealed at rest, and used as they are."""

from __future__ import annotations

import json

import pytest

from broker.secrets import SecretBox, make_key
from broker.store.postgres.database import Database
from broker.store.subscriptions.sealing import SealingStore, is_sealing
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import QueueTarget, WebhookTarget
from tests.support.eventually import eventually
from tests.support.postgres import run_scripts, unmigrated
from tests.support.receiver import Answer
from tests.support.throwing import FAR, delivery, subscribe, throw

CREDENTIALS = ("s3cr3t-header", "s3cr3t-user", "s3cr3t-query", "s3cr3t-step", "s3cr3t-team")
IN_CLEAR = """
SELECT 'subscriptions' AS place, s::text AS row FROM subscriptions s
UNION ALL SELECT 'circuits', k::text FROM circuits k
UNION ALL SELECT 'audit_events', a::text FROM audit_events a
UNION ALL SELECT 'attempts', t::text FROM attempts t
"""


async def places_of_credentials(database):
    return {row["place"] for row in await database.fetch(IN_CLEAR) if any(one in row["row"] for one in CREDENTIALS)}


def hook(webhooks, path="/hook"):
    return {
        "kind": "webhook",
        "url": f"{webhooks.url(path)}?token=s3cr3t-query&x=1",
        "headers": {"Authorization": "Bearer s3cr3t-header", "X-Team": "s3cr3t-team"},
    }


@pytest.fixture
async def store(product):
    async with Database(product.environment["STORE_URL"]) as database:
        yield database


@pytest.mark.slow
async def test_a_target_is_stored_sealed_and_called_and_shown_as_it_is(client, webhooks, name, store):
    webhooks.answer("/step", Answer(status=503))
    step = {"kind": "webhook", "url": webhooks.url("/step"), "headers": {"X-Api-Key": "s3cr3t-step"}}
    made = await client.post(
        "/v1/subscriptions",
        {"name": name, "steps": [{"target": hook(webhooks)}, {"target": step}], "retry": FAR},
        expect=201,
    )
    one = await client.get(f"/v1/subscriptions/{made['id']}")
    assert one["steps"] == made["steps"]
    shown = one["steps"][0]["target"]
    assert (shown["url"], shown["headers"]) == (
        hook(webhooks)["url"],
        {"Authorization": "***", "X-Team": "s3cr3t-team"},
    )
    [listed] = (await client.get(f"/v1/subscriptions?name={name}"))["items"]
    assert listed["steps"] == made["steps"]
    await delivery(client, await throw(client, name), made, "parked")
    first, second = webhooks.requests
    assert (first.target, first.headers["Authorization"]) == ("/hook?token=s3cr3t-query&x=1", "Bearer s3cr3t-header")
    assert second.headers["X-Api-Key"] == "s3cr3t-step"
    await client.request("PATCH", f"/v1/subscriptions/{made['id']}", json={"steps": [{"target": hook(webhooks)}]})
    assert await places_of_credentials(store) == set()


@pytest.mark.slow
async def test_a_sealed_header_is_kept_and_what_does_not_change_stays_sealed_as_it_was(client, webhooks, name, store):
    made = await subscribe(client, name, target=hook(webhooks))
    sealed = "SELECT sealed FROM subscriptions WHERE id = $1"
    before = await store.fetchval(sealed, made["id"])
    target = {**hook(webhooks), "headers": {"Authorization": "***", "X-Team": "s3cr3t-team"}}
    path = f"/v1/subscriptions/{made['id']}"
    for changes in ({"description": "d"}, {"target": target}):
        assert (await client.request("PATCH", path, json=changes))[0] == 200
        assert await store.fetchval(sealed, made["id"]) == before
    status, _, changed = await client.request(
        "PATCH", path, json={"target": {**target, "url": f"{webhooks.base}/other?key=s3cr3t-query"}}
    )
    assert (status, changed["target"]["url"]) == (200, f"{webhooks.base}/other?key=s3cr3t-query")
    await throw(client, name)
    await eventually(lambda: webhooks.requests)
    [request] = webhooks.requests
    assert (request.target, request.headers["Authorization"]) == ("/other?key=s3cr3t-query", "Bearer s3cr3t-header")
    events = await store.fetch("SELECT before, after FROM audit_events WHERE subject_id = $1 ORDER BY id", made["id"])
    change = json.loads(events[-1]["after"])
    assert (change["address"], change["headersChanged"]) == (f"{webhooks.base}/other?key=***", True)
    assert json.loads(events[-1]["before"])["address"].endswith("/hook?token=***&x=1")
    assert await places_of_credentials(store) == set()


# The API refuses a password in a URL today; earlier versions took it.
HOOK = WebhookTarget(
    url="https://me:s3cr3t-user@example.com/hook?token=s3cr3t-query", headers={"Authorization": "s3cr3t-header"}
)


@pytest.mark.slow
async def test_a_store_that_earlier_versions_may_use_is_sealed_when_it_is_told_so(postgres_url):
    """An earlier version cannot read what is sealed."""
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0021")
        await database.execute("SELECT nextval('signal_ids')")
        await run_scripts(database, after="0021", to="9999")
        old, new = make_key(), make_key()
        subscriptions, sealing = SubscriptionStore(database), SealingStore(database)
        before = SecretBox([old])
        specs = [
            SubscriptionSpec(name="a", targets=(HOOK,)),
            SubscriptionSpec(name="b", targets=(QueueTarget(queue="q"), HOOK)),
            SubscriptionSpec(name="c", targets=(QueueTarget(queue="q"),)),
        ]
        made = [await subscriptions.create(spec, secret=before.seal("whsec")) for spec in specs]
        await database.execute("INSERT INTO circuits (key, address) VALUES ('', 'https://h/?token=s3cr3t-query')")
        await database.execute("""
            INSERT INTO audit_events (type, subject_id, principal, before, after)
            VALUES ('subscription-updated', 1, 'p', NULL,
                    '{"kind": "webhook", "address": "https://h/?token=s3cr3t-query", "headers": [], "steps": null}')
        """)
        assert (await is_sealing(database), await sealing.count_clear()) == (False, 2)
        assert len(await places_of_credentials(database)) == 3
        for box in (before, SecretBox([new, old]), SecretBox([new])):
            done = await sealing.reseal(box)
            assert (done.subscriptions, done.complete) == (3, True)
            assert (await is_sealing(database), await sealing.count_clear()) == (True, 0)
            assert await places_of_credentials(database) == set()
            for subscription, spec in zip(made, specs, strict=True):
                found = await subscriptions.get(subscription.id)
                assert tuple(target.unseal(box) for target in found.spec.targets) == spec.targets


async def test_a_new_store_is_sealed_from_the_first_subscription_on(database):
    assert await is_sealing(database)


@pytest.mark.slow
async def test_without_its_key_a_target_stays_hidden_and_can_be_given_anew(client, webhooks, name, store):
    made = await subscribe(client, name, target=hook(webhooks), retry={"schedule": []})
    foreign = SecretBox([make_key()]).seal("{}").decode()
    await store.execute("UPDATE subscriptions SET sealed = $1 WHERE id = $2", foreign, made["id"])
    path = f"/v1/subscriptions/{made['id']}"
    shown = (await client.get(path))["target"]
    assert "token=***" in shown["url"]
    dead = await delivery(client, await throw(client, name), made, "dead")
    assert (dead["attempts"][0]["outcome"], webhooks.requests) == ("failed", [])
    status, _, problem = await client.request(
        "PATCH", path, json={"target": {**hook(webhooks), "headers": shown["headers"]}}
    )
    assert (status, problem["errors"][0]["pointer"]) == (400, "/target/headers/Authorization")
    assert (await client.request("PATCH", path, json={"target": hook(webhooks)}))[0] == 200
    await delivery(client, await throw(client, name), made, "delivered")
