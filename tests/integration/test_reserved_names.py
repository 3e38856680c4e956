"""The broker's own names: they begin with ``$broker``, and neither callers nor general patterns have them."""

from __future__ import annotations

import pytest

from tests.support.throwing import NOWHERE, fresh_id, subscribe, token

OWN = "$broker.circuit.opened"
DETAIL = "begins with the word '$broker', which is reserved for the broker's own events"


async def test_the_native_api_refuses_a_throw_of_an_own_name(client):
    problem = await client.post("/v1/signals", {"name": OWN}, expect=400)
    assert problem["errors"] == [{"pointer": "/name", "detail": DETAIL}]


async def test_a_batch_refuses_that_item_alone(client, name):
    answer = await client.post("/v1/signals/batch", {"signals": [{"name": OWN}, {"name": name}]}, expect=200)
    refused, accepted = answer["results"]
    assert (refused["status"], accepted["status"]) == (400, 202)
    assert refused["problem"]["errors"][0]["detail"] == DETAIL


@pytest.mark.parametrize("further", [{}, {"executionId": "nobody-waits-here"}])
async def test_camunda_7_refuses_it_in_its_form(client, further):
    error = await client.post("/engine-rest/signal", {"name": OWN, **further}, expect=400)
    assert error["type"] == "InvalidRequestException"
    assert DETAIL in error["message"]


async def test_camunda_8_refuses_it_in_its_form(client):
    problem = await client.post("/v2/signals/broadcast", {"signalName": OWN}, expect=400)
    assert problem["status"] == 400
    assert DETAIL in problem["detail"]


async def test_no_signal_endpoint_has_such_a_name(client):
    error = await client.post("/api/admin/signal-endpoints", {"name": OWN, "enabled": True}, expect=400)
    assert set(error) == {"id", "name", "message", "details"}


async def test_a_throw_of_an_own_name_would_match_only_patterns_that_begin_like_it(client, name):
    everything = await subscribe(client, "#", tenantId=fresh_id("tenant"))
    own = await subscribe(client, "$broker.#")
    answer = await client.post("/v1/signals/explain", {"name": OWN}, expect=200)
    for one in (everything, own):  # or it would get what other tests throw
        assert (await client.request("DELETE", f"/v1/subscriptions/{one['id']}"))[0] == 204
    matches = {match["subscriptionId"]: match["matches"] for match in answer["matches"]}
    assert (matches[everything["id"]], matches[own["id"]]) == (False, True)


async def test_a_token_that_is_limited_to_all_names_does_not_have_the_broker_s(client):
    limited = client.caller(await token(client, "signals:read", "subscriptions:manage", names=["#"]))
    await limited.post("/v1/subscriptions", _webhook(OWN), expect=403)
    await client.post("/v1/subscriptions", _webhook(OWN), expect=201)


def _webhook(name):
    return {"name": name, "target": {"kind": "webhook", "url": NOWHERE}}
