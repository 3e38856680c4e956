"""Explaining a throw: who would get it and who would not, and why; nothing is thrown."""

from __future__ import annotations

import pytest

from tests.support.throwing import fresh_id, matched, subscribe, throw, token


async def explain(client, subscriptions, document, query=""):
    """Return what is said about *subscriptions*: (matches, because), or None for one that is not mentioned."""
    page = await client.post(f"/v1/signals/explain{query}", document, expect=200)
    said = {match["subscriptionId"]: (match["matches"], match["because"]) for match in page["matches"]}
    return [said.get(subscription["id"]) for subscription in subscriptions]


@pytest.mark.slow
async def test_every_subscription_is_told_whether_it_matches_and_why(client, name):
    execution = fresh_id("execution")
    filter_ = {"cpu": {"operator": "NUM_GT", "value": "90"}}
    subscriptions = [
        await subscribe(client, name),
        await subscribe(client, name.replace("test.", "*."), tenantId="acme"),
        await subscribe(client, f"{name}.other"),
        await subscribe(client, f"{name}.*"),
        await subscribe(client, name, filter=filter_),
        await subscribe(client, name, executionId=execution, once=True),
    ]
    yes = (True, "name, scope and filter match")
    others = [
        (False, f"the name '{name}.other' does not match"),
        (False, f"the pattern '{name}.*' does not match"),
    ]

    document = {"name": name, "payload": {"cpu": 80}}
    cases = [
        (document, [yes, yes, *others, (False, "the filter does not match: cpu: 80 is not NUM_GT 90"), yes]),
        ({"name": name, "payload": {"cpu": 91}}, [yes, yes, *others, yes, yes]),
        (
            {"name": name, "payload": {"cpu": 91}, "tenantId": "acme"},
            [
                (False, "it is for the tenant 'acme' only"),
                yes,
                *others,
                *[(False, "it is for the tenant 'acme' only")] * 2,
            ],
        ),
        (
            {"name": name, "executionId": execution, "deliverAt": "2020-01-01T00:00:00Z"},
            [
                *[(False, f"it is for the execution '{execution}' only")] * 2,
                *others,
                (False, f"it is for the execution '{execution}' only"),
                yes,
            ],
        ),
    ]
    for throwing, expected in cases:
        assert await explain(client, subscriptions, throwing) == expected
    assert (await client.get(f"/v1/signals?name={name}"))["items"] == []

    signal = await throw(client, **document)
    expected = {one["id"] for one, said in zip(subscriptions, cases[0][1], strict=True) if said[0]}
    assert await matched(client, signal["id"]) == expected
    [once] = await explain(client, subscriptions[-1:], document)
    assert once == (False, f"signal {signal['id']} consumed the subscription")


async def test_a_caller_is_told_of_the_subscriptions_that_it_sees(client, name):
    mine, theirs = fresh_id("tenant"), fresh_id("tenant")
    subscriptions = [await subscribe(client, name, tenantId=tenant) for tenant in (mine, theirs, None)]
    permissions = ("signals:throw", "subscriptions:manage")
    caller = client.caller(await token(client, *permissions, tenants=[mine]))
    yes = (True, "name, scope and filter match")
    assert await explain(caller, subscriptions, {"name": name}) == [yes, None, None]
    further = client.caller(await token(client, *permissions, tenants=[mine], untenanted=True))
    assert await explain(further, subscriptions, {"name": name}) == [yes, None, yes]
    for permission in ("signals:throw", "subscriptions:manage"):
        lacking = client.caller(await token(client, permission))
        await lacking.post("/v1/signals/explain", {"name": name}, expect=403)
    await caller.post("/v1/signals/explain", {"name": name, "tenantId": theirs}, expect=403)


async def test_explanations_come_in_pages(client, name):
    first, second = await subscribe(client, name), await subscribe(client, name)
    query = f"?afterId={first['id'] - 1}&limit=1"
    page = await client.post(f"/v1/signals/explain{query}", {"name": name}, expect=200)
    assert [match["subscriptionId"] for match in page["matches"]] == [first["id"]]
    assert page["next"] == str(first["id"])
    page = await client.post(f"/v1/signals/explain?afterId={page['next']}", {"name": name}, expect=200)
    assert (page["matches"][0]["subscriptionId"], page["next"]) == (second["id"], None)


async def test_what_could_not_be_thrown_is_not_explained(client, name):
    problem = await client.post("/v1/signals/explain", {"name": name, "expiresAt": "2020-01-01T00:00:00Z"}, expect=400)
    assert problem["errors"] == [{"pointer": "/expiresAt", "detail": "is past already"}]
    problem = await client.post("/v1/signals/explain?limit=1001", {"name": name}, expect=400)
    assert problem["errors"][0]["pointer"] == "?limit"
