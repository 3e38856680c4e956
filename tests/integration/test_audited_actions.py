"""What a caller does to subscriptions, deliveries and signals is in the audit, under the caller's name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from broker.moments import show_moment
from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import FAR, NOWHERE, delivery, fresh_id, recorded, subscribe, throw

QUEUE = {"kind": "queue", "queue": "q"}
NEVER = {"schedule": [], "maxAttempts": 1}


@pytest.fixture
async def operator(client):
    """A caller with a name of its own."""
    wanted = {
        "name": fresh_id("operator"),
        "permissions": ["signals:throw", "subscriptions:manage", "deliveries:manage"],
    }
    made = await client.post("/v1/tokens", wanted)
    caller = client.caller(made["token"])
    caller.name = made["name"]
    return caller


@pytest.fixture
def events(client, operator):
    """Call it for what is in the audit of the operator: type, subject, before and after, in order."""

    async def events():
        found, after = [], 0
        while after is not None:
            page = await client.get(f"/v1/audit?limit=1000&afterId={after}")
            found += [event for event in page["items"] if event["principal"] == operator.name]
            after = page["next"]
        return [(event["type"], event["subjectId"], event["before"], event["after"]) for event in found]

    return events


async def act(caller, method, path, expect=200, **body):
    status, _, answer = await caller.request(method, path, json=body or None)
    assert status == expect, answer
    return answer


@pytest.mark.slow
async def test_a_pause_and_a_resumption_say_who_and_how_and_a_second_pause_says_nothing(operator, events, name):
    made = await subscribe(operator, name)
    path = f"/v1/subscriptions/{made['id']}"
    await act(operator, "POST", f"{path}/pause")
    await act(operator, "POST", f"{path}/pause")
    await act(operator, "POST", f"{path}/resume", perSecond=50)
    assert (await events())[1:] == [
        ("subscription-paused", made["id"], {"paused": False}, {"paused": True}),
        (
            "subscription-resumed",
            made["id"],
            {"paused": True, "disabledBecause": None},
            {"paused": False, "disabledBecause": None, "perSecond": 50.0},
        ),
    ]


async def test_a_creation_and_a_deletion_show_the_subscription_without_credentials(operator, events, name):
    target = {"kind": "webhook", "url": f"{NOWHERE}?token=s3cret", "headers": {"Authorization": "Bearer s3cret"}}
    made = await operator.post("/v1/subscriptions", {"name": name, "target": target, "maxInFlight": 3})
    await act(operator, "DELETE", f"/v1/subscriptions/{made['id']}", expect=204)
    created, deleted = await events()
    assert created == ("subscription-created", made["id"], None, deleted[2])
    assert deleted == ("subscription-deleted", made["id"], created[3], None)
    assert (created[3]["name"], created[3]["max_in_flight"]) == (name, 3)
    assert created[3]["headers"] == ["Authorization"]
    assert "s3cret" not in json.dumps([created, deleted])


async def test_subscriptions_that_come_and_go_with_executions_do_not_fill_the_audit(operator, events, name):
    scope = {"executionId": fresh_id("execution")}
    made = await operator.post("/v1/subscriptions", {"name": name, "target": QUEUE, **scope})
    await act(operator, "POST", f"/v1/subscriptions/{made['id']}/pause")
    await act(operator, "DELETE", f"/v1/subscriptions/{made['id']}", expect=204)
    assert [event[0] for event in await events()] == ["subscription-paused"]


async def test_a_rotation_of_a_secret_shows_the_grace_period_and_no_secret(operator, events, name):
    made = await subscribe(operator, name)
    rotated = await act(operator, "POST", f"/v1/subscriptions/{made['id']}/rotate-secret", graceSeconds=60)
    _, event = await events()
    assert event == ("subscription-secret-rotated", made["id"], None, {"graceSeconds": 60.0})
    assert rotated["secret"] not in json.dumps(event)


async def test_an_open_circuit_that_is_closed_by_hand_is_noted(operator, client, events, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=503, headers={"Retry-After": "600"}))
    made = await subscribe(operator, name, url, retry=FAR)
    path = f"/v1/subscriptions/{made['id']}"
    await act(operator, "POST", f"{path}/circuit/close", expect=204)
    assert len(await events()) == 1
    await delivery(client, await throw(client, name), made, "parked")
    await act(operator, "POST", f"{path}/circuit/close", expect=204)
    assert (await events())[1:] == [("subscription-circuit-closed", made["id"], {"circuits": 1}, {"circuits": 0})]


async def test_a_test_is_noted_with_the_name_and_without_the_payload(operator, events, webhooks, name):
    made = await subscribe(operator, name, webhooks.url("/hook"))
    await act(operator, "POST", f"/v1/subscriptions/{made['id']}/test", payload={"secret": "x"})
    assert (await events())[1:] == [("subscription-tested", made["id"], None, {"name": name})]


async def test_a_single_delivery_that_is_redriven_is_noted_and_one_that_is_not_is_not(
    operator, client, events, webhooks, name
):
    url = webhooks.answer("/hook", Answer(status=500), Answer())
    made = await subscribe(operator, name, url, retry=NEVER)
    dead = await delivery(client, await throw(client, name), made, "dead")
    await act(operator, "POST", f"/v1/subscriptions/{made['id']}/pause")
    await act(operator, "POST", f"/v1/deliveries/{dead['id']}/redrive")
    await eventually(lambda: redrive_is_refused(operator, dead["id"]))
    assert (await events())[2:] == [("delivery-redriven", made["id"], None, {"deliveryId": dead["id"]})]


async def redrive_is_refused(caller, delivery_id):
    status, _, _ = await caller.request("POST", f"/v1/deliveries/{delivery_id}/redrive", json={})
    return status == 409


async def test_a_scheduled_signal_that_is_cancelled_is_noted_once(operator, client, events, name):
    later = show_moment(datetime.now(UTC) + timedelta(days=1))
    signal = await throw(operator, name, deliverAt=later)
    await recorded(client, signal["id"])
    await act(operator, "DELETE", f"/v1/signals/{signal['id']}", expect=204)
    await act(operator, "DELETE", f"/v1/signals/{signal['id']}", expect=409)
    assert await events() == [("signal-cancelled", signal["id"], {"state": "scheduled"}, {"state": "cancelled"})]


async def test_what_is_refused_leaves_no_event(operator, events, name):
    await act(operator, "POST", "/v1/subscriptions/999999/pause", expect=404)
    await act(operator, "DELETE", "/v1/subscriptions/999999", expect=404)
    await operator.post("/v1/subscriptions", {"name": name, "target": {"kind": "webhook", "url": "x"}}, expect=400)
    assert await events() == []
