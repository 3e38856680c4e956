"""Changing subscriptions: what is mentioned, from the next attempt on."""

from __future__ import annotations

import json

import pytest
from standardwebhooks import Webhook

from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import FAR, NOWHERE, delivery, fresh_id, matched, subscribe, throw, token


async def change(client, subscription, expect=200, **members):
    status, _, body = await client.request("PATCH", f"/v1/subscriptions/{subscription['id']}", json=members)
    assert status == expect, body
    return body


def without(subscription, *members):
    computed = {"secret", "backlog", "circuit", "successRate"}
    return {key: value for key, value in subscription.items() if key not in {*computed, *members}}


FULL = {
    "target": {"kind": "webhook", "url": NOWHERE, "headers": {"X-Team": "claims"}, "method": "PUT"},
    "filter": {"n": {"operator": "NUM_GT", "value": "1"}},
    "retry": {"schedule": [1.0, 2.0]},
    "timeoutSeconds": 3.0,
    "maxInFlight": 4,
    "maxPerSecond": 5.0,
    "description": "first",
}


@pytest.mark.parametrize(
    ("member", "wanted", "shown"),
    [
        ("filter", {"m": {"operator": "IN", "values": ["x"]}}, None),
        ("filter", None, None),
        ("retry", {"schedule": [7.0], "maxAttempts": 3}, {"schedule": [7.0, 7.0], "maxAttempts": 3}),
        ("timeoutSeconds", 9.5, None),
        ("timeoutSeconds", None, None),
        ("maxInFlight", 1, None),
        ("maxInFlight", None, None),
        ("maxPerSecond", 0.5, None),
        ("maxPerSecond", None, None),
        ("description", "second", None),
        ("description", None, None),
    ],
)
async def test_what_is_mentioned_changes_and_all_else_stays(client, name, member, wanted, shown):
    made = await client.post("/v1/subscriptions", {"name": name, **FULL})
    changed = await change(client, made, **{member: wanted})
    assert changed[member] == (shown or wanted)
    assert "secret" not in changed or changed["secret"] is None
    assert without(changed, member) == without(made, member)
    again = await client.get(f"/v1/subscriptions/{made['id']}")
    assert without(again) == without(changed)


async def test_a_retry_of_null_is_the_usual_one_and_nothing_mentioned_changes_nothing(client, name):
    made = await client.post("/v1/subscriptions", {"name": name, **FULL})
    assert without(await change(client, made)) == without(made)
    usual = await change(client, made, retry=None)
    assert usual["retry"]["maxAttempts"] == 10


async def test_a_target_and_steps_take_each_others_place(client, name):
    made = await client.post("/v1/subscriptions", {"name": name, **FULL})
    steps = [{"target": {"kind": "queue", "queue": "a"}, "description": "first"}, {"target": FULL["target"]}]
    changed = await change(client, made, steps=steps)
    assert changed["target"] is None
    assert [step["target"]["kind"] for step in changed["steps"]] == ["queue", "webhook"]
    problem = await change(client, made, expect=400, timeoutSeconds=300, steps=steps * 2)
    assert [error["pointer"] for error in problem["errors"]] == ["/timeoutSeconds"]
    await change(client, made, timeoutSeconds=200, steps=steps * 2)
    problem = await change(client, made, expect=400, timeoutSeconds=300)
    assert [error["pointer"] for error in problem["errors"]] == ["/timeoutSeconds"]
    back = await change(client, made, target={"kind": "webhook", "url": NOWHERE}, timeoutSeconds=300)
    assert (back["steps"], back["target"]["url"]) == (None, NOWHERE)


@pytest.mark.slow
async def test_the_next_attempt_goes_to_the_new_target_with_the_same_secret(client, webhooks, name):
    url = webhooks.answer("/old", Answer(status=500))
    made = await subscribe(client, name, url, retry={"maxAttempts": 1})
    signal = await throw(client, name)
    dead = await delivery(client, signal, made, "dead")
    await change(client, made, target={"kind": "webhook", "url": webhooks.url("/new")})
    await client.post(f"/v1/deliveries/{dead['id']}/redrive", {}, expect=200)
    done = await delivery(client, signal, made, "delivered")
    assert [attempt["status"] for attempt in done["attempts"]] == [500, 200]
    [_, request] = webhooks.requests
    assert request.path == "/new"
    Webhook(made["secret"]).verify(request.body, dict(request.headers))


async def test_a_header_that_is_not_shown_stays_when_it_is_sent_back_as_it_was_shown(client, webhooks, name):
    headers = {"Authorization": "Bearer s3cret", "X-Back": "http://h/?pin=1&x=2", "X-Team": "claims"}
    target = {"kind": "webhook", "url": webhooks.url("/old"), "headers": headers}
    made = await client.post("/v1/subscriptions", {"name": name, "target": target})
    shown = made["target"]
    assert shown["headers"] == {"Authorization": "***", "X-Back": "***", "X-Team": "claims"}
    await change(client, made, target={**shown, "url": webhooks.url("/new"), "headers": shown["headers"]})
    await throw(client, name)
    [request] = await eventually(lambda: webhooks.requests)
    assert request.path == "/new"
    assert headers.items() <= request.headers.items()

    for other in (
        {"url": webhooks.url("/").replace("127.0.0.1", "127.0.0.2")},
        {"url": webhooks.url("/"), "headers": {"X-Api-Key": "***"}},
    ):
        problem = await change(client, made, expect=400, target={**shown, **other})
        assert problem["errors"][0]["detail"] == "*** is what answers show instead of it; send the value"


async def test_a_webhook_that_replaces_a_queue_gets_a_secret_that_is_shown_once(client, webhooks, name):
    made = await client.post("/v1/subscriptions", {"name": name, "target": {"kind": "queue", "queue": "nowhere"}})
    changed = await change(client, made, target={"kind": "webhook", "url": webhooks.url("/hook")})
    assert changed["secret"].startswith("whsec_")
    again = await change(client, made, description="still")
    assert again["secret"] is None
    await throw(client, name)
    [request] = await eventually(lambda: webhooks.requests)
    Webhook(changed["secret"]).verify(request.body, dict(request.headers))


async def test_a_new_filter_decides_on_the_next_signal(client, name):
    made = await client.post("/v1/subscriptions", {"name": name, **FULL})
    before = await throw(client, name, payload={"n": 1})
    assert await matched(client, before["id"]) == set()
    await change(client, made, filter=None)
    after = await throw(client, name, payload={"n": 1})
    assert await matched(client, after["id"]) == {made["id"]}


@pytest.mark.parametrize("member", ["name", "tenantId", "executionId", "once"])
@pytest.mark.parametrize("value", [None, "x", True])
async def test_what_makes_it_this_subscription_cannot_be_changed(client, name, member, value):
    made = await subscribe(client, name)
    problem = await change(client, made, expect=400, **{member: value})
    assert problem["errors"] == [
        {"pointer": f"/{member}", "detail": "cannot be changed; make a new subscription, and delete this one"}
    ]


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"nome": 1}, "/nome"),
        ({"target": None}, "/target"),
        ({"steps": []}, "/steps"),
        ({"target": {"kind": "webhook", "url": "ftp://x"}}, "/target/url"),
        ({"target": {"kind": "queue", "queue": "signals.record"}}, "/target/queue"),
        ({"filter": {"a": {"operator": "NOPE"}}}, "/filter/a/operator"),
        ({"maxInFlight": 0}, "/maxInFlight"),
        ({"timeoutSeconds": 301}, "/timeoutSeconds"),
    ],
)
async def test_what_cannot_be_meant_is_refused_and_changes_nothing(client, name, members, pointer):
    made = await subscribe(client, name)
    problem = await change(client, made, expect=400, description="new", **members)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert (await client.get(f"/v1/subscriptions/{made['id']}"))["description"] is None


async def test_only_who_may_manage_it_changes_it_and_one_that_is_gone_is_not_found(client, name):
    tenant = fresh_id("tenant")
    made = await subscribe(client, name, tenantId=tenant)
    for limits, status in (
        ({"names": ["other"]}, 403),
        ({"tenants": [fresh_id("tenant")]}, 404),
        ({"names": [name], "tenants": [tenant]}, 200),
    ):
        caller = client.caller(await token(client, "subscriptions:manage", **limits))
        await change(caller, made, expect=status, description="mine")
    await client.request("DELETE", f"/v1/subscriptions/{made['id']}")
    await change(client, made, expect=404, description="late")
    await change(client, {"id": "x"}, expect=404)


@pytest.mark.slow
async def test_what_waits_for_a_slower_rate_goes_on_when_it_is_raised(client, webhooks, name):
    made = await subscribe(client, name, webhooks.url("/hook"), maxPerSecond=0.01)
    await delivery(client, await throw(client, name), made, "delivered")
    second = await throw(client, name)
    waiting = await delivery(client, second, made, "parked")
    assert (waiting["reason"], waiting["dueAt"]) == ("rate", None)
    third = await throw(client, name)
    await delivery(client, third, made, "parked")
    await change(client, made, maxPerSecond=100)
    await delivery(client, second, made, "delivered")
    await delivery(client, third, made, "delivered")


async def test_changes_are_in_the_audit_without_values_of_headers(client, name):
    target = {"kind": "webhook", "url": NOWHERE, "headers": {"Authorization": "Bearer s3cret"}}
    made = await client.post("/v1/subscriptions", {"name": name, "target": target, "retry": FAR})
    await change(client, made, maxInFlight=3)
    await change(client, made, target={**target, "headers": {"Authorization": "Bearer other"}})
    await change(client, made, maxInFlight=3)
    page = await client.get("/v1/audit?type=subscription-updated&limit=1000")
    first, second = [event for event in page["items"] if event["subjectId"] == made["id"]]
    assert (first["before"]["max_in_flight"], first["after"]["max_in_flight"]) == (None, 3)
    assert second["after"] == first["after"] | {"headersChanged": True}
    assert "Bearer" not in json.dumps([first, second])
