"""Names and tenants limit every read alike, and managing gives no reading."""

from __future__ import annotations

import pytest

from tests.support.receiver import Answer
from tests.support.throwing import delivery, fresh_id, subscribe, throw, token

DEAD = {"schedule": [], "maxAttempts": 1}


@pytest.mark.slow
async def test_a_caller_limited_to_names_reads_deliveries_of_those_only(client, webhooks, name):
    url = webhooks.answer("/", Answer(status=500, body=b"secret"))
    subscription = await subscribe(client, f"{name}.#", url, retry=DEAD)
    mine, hidden = [
        await delivery(client, await throw(client, f"{name}.{word}"), subscription, "dead")
        for word in ("mine", "hidden")
    ]
    limits = {"names": [f"{name}.mine"]}
    caller = client.caller(await token(client, "signals:read", "subscriptions:manage", **limits))

    assert (await caller.request("GET", f"/v1/deliveries/{hidden['id']}"))[0] == 404
    assert (await caller.get(f"/v1/deliveries/{mine['id']}"))["attempts"][0]["response"] == "secret"
    for query in (f"subscriptionId={subscription['id']}", f"name={name}.%23", f"signalId={hidden['signalId']}"):
        page = await caller.get(f"/v1/deliveries?{query}")
        assert hidden["id"] not in {one["id"] for one in page["items"]}
    assert (await caller.request("GET", f"/v1/deliveries?name={name}.hidden"))[0] == 403
    assert (await caller.request("GET", f"/v1/signals/{hidden['signalId']}/deliveries"))[0] == 404
    items, after = [], 0
    while after is not None:  # a page may end early on a busy machine
        page = await caller.get(f"/v1/signals?name={name}.%23&afterId={after}")
        items, after = [*items, *page["items"]], page["next"]
    assert [one["id"] for one in items] == [mine["signalId"]]


@pytest.mark.slow
async def test_a_caller_limited_to_names_sees_subscriptions_to_those_only(client, name):
    made = {word: await subscribe(client, f"{name}.{word}") for word in ("mine", "hidden", "*", "#", "mine.#")}
    ids = {one["id"]: word for word, one in made.items()}
    permissions = ("signals:read", "signals:throw", "subscriptions:manage")
    caller = client.caller(await token(client, *permissions, names=[f"{name}.mine", f"{name}.mine.*.#"]))

    listed = await caller.get(f"/v1/subscriptions?limit=1000&afterId={min(ids) - 1}")
    assert [ids[one["id"]] for one in listed["items"]] == ["mine", "mine.#"]
    explained = await caller.post(f"/v1/signals/explain?afterId={min(ids) - 1}", {"name": f"{name}.mine"})
    assert [ids[one["subscriptionId"]] for one in explained["matches"]] == ["mine", "mine.#"]
    for word, one in made.items():
        status = 200 if word.startswith("mine") else 404
        assert (await caller.request("GET", f"/v1/subscriptions/{one['id']}"))[0] == status
        assert (await caller.request("GET", f"/v1/ledger?subscriptionId={one['id']}"))[0] == status
        rows = await caller.get(f"/engine-rest/event-subscription?eventSubscriptionId={one['id']}")
        assert len(rows) == (status == 200)
        count = await caller.get(f"/engine-rest/event-subscription/count?eventSubscriptionId={one['id']}")
        assert count == {"count": len(rows)}


@pytest.mark.slow
async def test_the_books_of_a_caller_with_limits_are_of_its_subscriptions_alone(client, webhooks, name):
    tenant = fresh_id("tenant")
    callers = [
        client.caller(await token(client, "signals:read", tenants=[tenant])),
        client.caller(await token(client, "signals:read", names=[f"{name}.mine"])),
    ]
    hidden = await subscribe(client, f"{name}.hidden", webhooks.url())
    await delivery(client, await throw(client, f"{name}.hidden"), hidden, "delivered")
    for caller in callers:
        books = await caller.get("/v1/ledger")
        assert (books["matched"], books["deliveries"]["delivered"], books["unaccounted"]) == (0, 0, 0)
        assert {
            books[of_all]
            for of_all in ("recorded", "awaitingRecord", "bufferedMessages", "poison", "poisonedSignals", "lost")
        } == {None}
    mine = await subscribe(client, f"{name}.mine", webhooks.url(), tenantId=tenant)
    await delivery(client, await throw(client, f"{name}.mine"), mine, "delivered")
    for caller in callers:
        assert (await caller.get("/v1/ledger"))["matched"] == 1
        books = await caller.get(f"/v1/ledger?subscriptionId={mine['id']}")
        assert (books["matched"], books["recorded"]) == (1, None)


@pytest.mark.slow
async def test_who_may_only_manage_deliveries_is_told_nothing_of_the_receivers_answers(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.answer("/", Answer(status=500, body=b"secret")), retry=DEAD)
    dead = await delivery(client, await throw(client, name), subscription, "dead")
    manager = client.caller(await token(client, "deliveries:manage"))
    for verb in ("redrive", "cancel"):
        changed = await manager.post(f"/v1/deliveries/{dead['id']}/{verb}", {})
        assert (changed["attempts"], changed["lastError"]) == (None, None)
        await delivery(client, {"id": dead["signalId"]}, subscription, "dead" if verb == "redrive" else "cancelled")
    assert (await manager.request("GET", f"/v1/deliveries/{dead['id']}"))[0] == 403
