"""What a lost key of the ring sealed holds up no more than it must: rotations of the ring, and deliveries."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.access import ADMINISTRATOR
from broker.errors import SecretUnreadable
from broker.secrets import SecretBox, make_key, make_secret
from broker.store.administration.webhook_keys import WebhookKeyStore
from broker.store.postgres.database import Database
from broker.store.subscriptions.sealing import SealingStore, is_sealing
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import QueueTarget, WebhookTarget
from tests.support.product import SECRET_KEY
from tests.support.remote import Laptop
from tests.support.throwing import FAR, delivery, subscribe, throw

DAY = timedelta(days=1)
PLAIN = WebhookTarget(url="https://example.com/hook")
CLOSED = WebhookTarget(url="https://example.com/hook?token=s3cr3t", headers={"Authorization": "s3cr3t"})
LOST, OLD, NEW = make_key(), make_key(), make_key()
LOST_BOX, OLD_BOX, NEW_BOX, RING = SecretBox([LOST]), SecretBox([OLD]), SecretBox([NEW]), SecretBox([NEW, OLD])


@pytest.fixture
def sealing(database):
    return SealingStore(database)


@pytest.fixture
def make(subscriptions):
    """Create a subscription whose secret, and whose targets' credentials, *box* seals; return its id."""

    async def make(box, *targets):
        spec = SubscriptionSpec(name="order.paid", targets=tuple(one.seal(box) for one in targets or (PLAIN,)))
        return (await subscriptions.create(spec, secret=box.seal(make_secret()))).id

    return make


async def count_for(sealing, box):
    """Return how many secrets *box* opens, and how many more are needed."""
    ring = await sealing.try_ring(box, most=1000)
    return ring.opened, len(ring.sealed_at)


async def test_a_reseal_goes_on_past_what_no_key_opens_and_names_it(database, sealing, subscriptions, make):
    closed, steps = await make(LOST_BOX), await make(OLD_BOX, CLOSED, QueueTarget(queue="q"))
    lost_step = await make(OLD_BOX, QueueTarget(queue="q"), CLOSED)
    await database.execute(
        "UPDATE subscriptions SET steps = $1 WHERE id = $2",
        json.dumps(
            [
                CLOSED.seal(OLD_BOX).columns | {"description": None},
                CLOSED.seal(LOST_BOX).columns | {"description": None},
            ]
        ),
        lost_step,
    )
    last = await make(OLD_BOX, CLOSED)
    await WebhookKeyStore(database, OLD_BOX).valid()
    done = await sealing.reseal(RING)
    assert (done.subscriptions, done.secrets, done.targets, done.keys) == (3, [closed], [lost_step], [])
    # Nothing of the others needs the old key any more.
    ring = await sealing.try_ring(NEW_BOX, most=1000)
    assert (ring.subscriptions, ring.keys) == ([closed, lost_step], [])
    for one, count in ((steps, 1), (last, 1)):
        found = await subscriptions.get(one)
        assert [target.unseal(NEW_BOX) for target in found.spec.targets][:count] == [CLOSED]
    first, second = (await subscriptions.get(lost_step)).spec.targets
    assert first.unseal(NEW_BOX) == CLOSED
    assert second.unseal(LOST_BOX) == CLOSED


async def test_what_deleted_subscriptions_have_stops_no_rotation_of_the_ring(database, sealing, subscriptions, make):
    closed, open_ = await make(LOST_BOX, CLOSED), await make(OLD_BOX, CLOSED)
    await make(OLD_BOX)
    for one in (closed, open_):
        await subscriptions.delete(one)
    done = await sealing.reseal(RING)
    assert (done.subscriptions, done.secrets, done.targets, done.keys) == (2, [], [], [])
    secret = await database.fetchval("SELECT secret FROM subscriptions WHERE id = $1", open_)
    assert NEW_BOX.open(secret)


async def test_a_ring_that_opens_nothing_changes_nothing(database, sealing, make):
    closed = await make(LOST_BOX, CLOSED)
    await database.execute("DELETE FROM sealing")
    with pytest.raises(SecretUnreadable, match="nothing was changed"):
        await sealing.reseal(NEW_BOX)
    assert not await is_sealing(database)
    assert await count_for(sealing, LOST_BOX) == (2, 0)
    await database.execute("UPDATE subscriptions SET until = 1 WHERE id = $1", closed)
    await sealing.reseal(NEW_BOX)
    assert await is_sealing(database)


async def test_a_secret_that_no_key_opens_is_not_kept_when_it_is_replaced(database, sealing, subscriptions, make):
    closed, open_ = await make(LOST_BOX), await make(OLD_BOX)
    for one in (closed, open_):
        await subscriptions.rotate_secret(one, RING.seal(make_secret()), box=RING, grace=DAY)
    kept = "SELECT id FROM subscriptions WHERE previous_secret IS NOT NULL"
    assert [row["id"] for row in await database.fetch(kept)] == [open_]
    assert await count_for(sealing, RING) == (3, 0)


@pytest.mark.parametrize("sealer", [LOST_BOX, OLD_BOX])
async def test_a_previous_secret_counts_until_its_grace_is_over(database, sealing, make, sealer):
    one = await make(OLD_BOX)
    keep = "UPDATE subscriptions SET previous_secret = $1, previous_secret_until = now() + $2 WHERE id = $3"
    await database.execute(keep, sealer.seal(make_secret()), DAY, one)
    closed = sealer is LOST_BOX
    assert await count_for(sealing, RING) == (1 if closed else 2, closed)
    assert (await sealing.reseal(RING)).secrets == ([one] if closed else [])
    await database.execute(keep, sealer.seal(make_secret()), -DAY, one)
    assert await count_for(sealing, RING) == (1, 0)
    assert (await sealing.reseal(RING)).secrets == []
    assert await database.fetchval("SELECT previous_secret FROM subscriptions") is None


async def test_a_webhook_key_counts_while_it_signs_and_only_if_it_opens_after_a_rotation(database, sealing):
    await WebhookKeyStore(database, LOST_BOX).valid()
    [lost] = (await sealing.try_ring(RING, most=9)).keys
    keys = WebhookKeyStore(database, RING)
    [new] = await keys.rotate(DAY)
    assert new.id != lost
    assert await count_for(sealing, RING) == (1, 0)
    assert (await sealing.reseal(RING)).keys == []
    assert [key.id for key in await keys.rotate(DAY)] == [new.id + 1, new.id]


async def test_a_secret_that_signs_nothing_is_not_needed_and_not_taken_up_again(sealing, subscriptions, make):
    closed = await make(LOST_BOX)
    fresh = RING.seal(make_secret())

    async def change(*targets):
        def to(spec):
            return replace(spec, targets=targets)

        return await subscriptions.change(closed, to, secret=fresh, box=RING, by=ADMINISTRATOR)

    _, has_secret = await change(WebhookTarget(url="https://example.com/other"))
    assert not has_secret, "an edit alone replaces no secret"
    await change(QueueTarget(queue="q"))
    assert await count_for(sealing, RING) == (0, 0)
    _, has_secret = await change(QueueTarget(queue="q"), PLAIN)
    assert has_secret
    assert await count_for(sealing, RING) == (1, 0)


@pytest.mark.slow
async def test_after_the_secret_was_replaced_deliveries_go_on_at_once(client, webhooks, name, product):
    made = await subscribe(client, name, webhooks.url("/hook"), retry=FAR)
    async with Database(product.environment["STORE_URL"]) as store:
        await store.execute(
            "UPDATE subscriptions SET secret = $1 WHERE id = $2", LOST_BOX.seal(make_secret()), made["id"]
        )
        failed = await delivery(client, await throw(client, name), made, "parked")
        assert "no key in SIGNAL_BROKER_SECRET_KEYS" in failed["attempts"][0]["error"]
        await client.post(f"/v1/subscriptions/{made['id']}/rotate-secret", {}, expect=200)
        await delivery(client, await throw(client, name), made, "delivered")
        # What an earlier version kept in the place of the previous secret does not stop them either.
        await store.execute(
            "UPDATE subscriptions SET previous_secret = $1, previous_secret_until = now() + interval '1 day'"
            " WHERE id = $2",
            LOST_BOX.seal(make_secret()),
            made["id"],
        )
    await delivery(client, await throw(client, name), made, "delivered")
    assert [len(one.headers["webhook-signature"].split()) for one in webhooks.requests] == [1, 1]


@pytest.mark.slow
async def test_a_url_that_is_not_shown_is_not_taken_for_the_real_one(client, webhooks, name, product):
    made = await subscribe(client, name, f"{webhooks.url('/hook')}?token=s3cr3t")
    async with Database(product.environment["STORE_URL"]) as store:
        await store.execute(
            "UPDATE subscriptions SET sealed = $1 WHERE id = $2", LOST_BOX.seal("{}").decode(), made["id"]
        )
    path = f"/v1/subscriptions/{made['id']}"
    shown = (await client.get(path))["target"]
    status, _, problem = await client.request("PATCH", path, json={"target": shown})
    assert (status, problem["errors"][0]["pointer"]) == (400, "/target/url")
    changed = await client.request("PATCH", path, json={"target": {**shown, "url": webhooks.url("/other")}})
    assert changed[0] == 200


@pytest.mark.slow
async def test_of_several_steps_those_that_open_are_shown_and_kept(client, webhooks, name, product):
    hook = {"kind": "webhook", "url": f"{webhooks.url('/hook')}?token=s3cr3t", "headers": {"Authorization": "x"}}
    made = await client.post("/v1/subscriptions", {"name": name, "steps": [{"target": hook}] * 2}, expect=201)
    async with Database(product.environment["STORE_URL"]) as store:
        steps = json.loads(await store.fetchval("SELECT steps FROM subscriptions WHERE id = $1", made["id"]))
        steps[0]["sealed"] = LOST_BOX.seal("{}").decode()
        await store.execute("UPDATE subscriptions SET steps = $1 WHERE id = $2", json.dumps(steps), made["id"])
    path = f"/v1/subscriptions/{made['id']}"
    lost, shown = (await client.get(path))["steps"]
    assert (lost["target"]["url"], shown["target"]["url"]) == (f"{webhooks.url('/hook')}?token=***", hook["url"])
    status, _, changed = await client.request("PATCH", path, json={"steps": [{"target": hook}, shown]})
    assert (status, changed["steps"][0]["target"]["url"]) == (200, hook["url"])
    await throw(client, name)
    await delivery(client, await throw(client, name), made, "delivered")
    assert {one.headers["Authorization"] for one in webhooks.requests} == {"x"}


@pytest.mark.slow
async def test_the_command_names_what_no_key_opens_and_ends_with_status_1(database, database_url, tmp_path, make):
    closed, target = await make(LOST_BOX), await make(OLD_BOX, CLOSED.seal(LOST_BOX))
    await WebhookKeyStore(database, LOST_BOX).valid()
    operator = Laptop(tmp_path, STORE_URL=database_url, SECRET_KEYS=f"{NEW},{OLD}")
    done = await operator.call("reseal", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (
        1,
        {
            "subscriptions": 1,
            "unreadableSecrets": [closed],
            "unreadableTargets": [target],
            "unreadableWebhookKeys": [1],
        },
    )
    for part in (
        f"`signal-broker subscriptions rotate-secret ID` for the secret of {closed}",
        f"`signal-broker subscriptions edit ID` for the URL and the headers of {target}",
        "`POST /v1/webhook-keys/rotate`",
    ):
        assert part in done.stderr
    await SubscriptionStore(database).delete(closed)
    await SubscriptionStore(database).delete(target)
    await WebhookKeyStore(database, RING).rotate(DAY)
    assert (await operator.ask("reseal"))["subscriptions"] == 1
    nothing = await Laptop(tmp_path, STORE_URL=database_url, SECRET_KEYS=SECRET_KEY).refusal("reseal")
    assert "nothing was changed" in nothing
