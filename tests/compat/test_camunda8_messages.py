"""``POST /v2/messages/correlation`` and ``/v2/messages/publication``, as in Camunda 8."""

from __future__ import annotations

import asyncio

import pytest
from camunda_orchestration_sdk import CamundaClient, MessageCorrelationRequest, MessagePublicationRequest

from tests.support.eventually import eventually
from tests.support.throwing import fresh_id, matched, recorded, subscribe, token

CORRELATION = "/v2/messages/correlation"
PUBLICATION = "/v2/messages/publication"


async def waiting(client, name, key=None, **spec):
    """Return the id of a new subscription of an execution, which waits for one message."""
    spec = {"executionId": fresh_id("execution"), "once": True, **spec}
    return (await subscribe(client, name, **spec, **({} if key is None else {"businessKey": key})))["id"]


@pytest.mark.slow
async def test_a_message_is_correlated_by_its_key(client, webhooks, name):
    other = await waiting(client, name, "order-8")
    wanted = (
        await subscribe(
            client, name, webhooks.url("/"), executionId=fresh_id("execution"), businessKey="order-7", once=True
        )
    )["id"]
    variables = '{"n": 1.50}'
    body = f'{{"name": "{name}", "correlationKey": "order-7", "variables": {variables}}}'.encode()

    status, _, answer = await client.request(
        "POST", CORRELATION, data=body, headers={"Content-Type": "application/json"}
    )

    assert status == 200
    assert answer == {
        "messageKey": answer["messageKey"],
        "tenantId": "<default>",
        "processInstanceKey": str(wanted),
    }
    assert await matched(client, int(answer["messageKey"])) == {wanted}
    await eventually(lambda: webhooks.requests)
    assert f'"payload":{variables}' in webhooks.requests[0].body.decode()
    assert (await client.get(f"/v1/subscriptions/{other}"))["consumedBy"] is None


@pytest.mark.slow
async def test_without_a_key_it_is_for_what_waits_outside_of_executions(client, name):
    await waiting(client, name, "order-7")
    start = (await subscribe(client, name))["id"]

    answers = [
        await client.post(CORRELATION, {"name": name, **more}, expect=200) for more in ({}, {"correlationKey": ""})
    ]

    assert [answer["processInstanceKey"] for answer in answers] == [str(start)] * 2


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_of_several_the_one_that_waits_longest_gets_it(client, name):
    ids = [await waiting(client, name, "k") for _ in range(3)]
    document = {"name": name, "correlationKey": "k"}

    answers = await asyncio.gather(*(client.request("POST", CORRELATION, json=document) for _ in range(4)))

    statuses = [status for status, _, _ in answers]
    assert sorted(statuses) == [200, 200, 200, 404]
    keys = [body["processInstanceKey"] for status, _, body in answers if status == 200]
    assert sorted(keys) == sorted(map(str, ids)), "each is consumed once"
    (problem,) = [body for status, _, body in answers if status == 404]
    assert problem == {
        "type": "about:blank",
        "title": "NOT_FOUND",
        "status": 404,
        "detail": "Command 'CORRELATE' rejected with code 'NOT_FOUND': Expected to find subscription for message with"
        f" name '{name}' and correlation key 'k', but none was found.",
        "instance": CORRELATION,
    }


async def test_a_message_is_for_one_tenant(client, name):
    tenant, other = fresh_id("tenant"), fresh_id("tenant")
    theirs = await waiting(client, name, "k", tenantId=tenant)
    untenanted = await waiting(client, name, "k")
    document = {"name": name, "correlationKey": "k"}
    credential = {"Authorization": f"Bearer {await token(client, 'signals:throw', tenants=[other])}"}

    status, _, problem = await client.request(
        "POST", CORRELATION, json={**document, "tenantId": tenant}, headers=credential
    )
    found = [await client.post(CORRELATION, {**document, **more}, expect=200) for more in ({}, {"tenantId": tenant})]

    assert (status, problem["title"]) == (403, "FORBIDDEN")
    assert problem["detail"] == (
        f"Expected to correlate message for tenant '{tenant}', but user is not assigned to this tenant."
    )
    assert [one["processInstanceKey"] for one in found] == [str(untenanted), str(theirs)]
    assert [one["tenantId"] for one in found] == ["<default>", tenant]


async def test_a_message_needs_the_permission_to_throw_its_signal(client, name):
    await waiting(client, name, "k")
    credential = await token(client, "signals:throw", names=["other"])
    for path in (CORRELATION, PUBLICATION):
        status, _, problem = await client.request(
            "POST",
            path,
            json={"name": name, "correlationKey": "k"},
            headers={"Authorization": f"Bearer {credential}"},
        )
        assert (status, problem["title"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("path", "document", "title", "detail"),
    [
        (CORRELATION, {}, "INVALID_ARGUMENT", "No messageName provided."),
        (CORRELATION, {"name": " "}, "INVALID_ARGUMENT", "No messageName provided."),
        (PUBLICATION, {"name": None}, "INVALID_ARGUMENT", "No name provided."),
        (CORRELATION, {"name": "m", "timeToLive": 1}, "Bad Request", "Request property [timeToLive] cannot be parsed"),
        (
            PUBLICATION,
            {"name": "m", "timeToLive": "1"},
            "Bad Request",
            "Request property [timeToLive] cannot be parsed",
        ),
        (PUBLICATION, {"name": "m", "timeToLive": -1}, "Bad Request", "Request property [timeToLive] cannot be parsed"),
        (
            PUBLICATION,
            {"name": "m", "timeToLive": 2_592_000_001},
            "INVALID_ARGUMENT",
            "timeToLive must be at most 2592000000 ms, which are 30 days",
        ),
        (
            PUBLICATION,
            {"name": "m", "messageId": "i" * 256},
            "INVALID_ARGUMENT",
            "messageId has 256 characters; an id has at most 255",
        ),
        (
            PUBLICATION,
            {"name": "m", "messageId": "a\0"},
            "INVALID_ARGUMENT",
            "messageId contains the character U+0000, which is not allowed here",
        ),
        (CORRELATION, {"name": "m", "variables": []}, "Bad Request", "Request property [variables] cannot be parsed"),
    ],
)
async def test_an_invalid_message_is_refused_as_by_camunda(client, path, document, title, detail):
    problem = await client.post(path, document, expect=400)

    assert problem == {"type": "about:blank", "title": title, "status": 400, "detail": detail, "instance": path}


async def test_a_message_without_a_time_to_live_may_be_for_nobody(client, name):
    answer = await client.post(PUBLICATION, {"name": name, "correlationKey": "k"}, expect=200)

    assert set(answer) == {"messageKey", "tenantId"}
    assert await matched(client, int(answer["messageKey"])) == set()
    assert (await recorded(client, answer["messageKey"]))["businessKey"] == "k"


async def test_a_repeat_with_the_same_key_is_the_same_message(client, name):
    headers = {"Idempotency-Key": fresh_id("key")}
    document = {"name": name, "correlationKey": "k"}
    for path in (CORRELATION, PUBLICATION):
        await waiting(client, name, "k")
        answers = [await client.request("POST", path, json=document, headers=headers) for _ in range(2)]
        assert [status for status, _, _ in answers] == [200, 200]
        assert answers[0][2] == answers[1][2]
        headers = {"Idempotency-Key": fresh_id("key")}


@pytest.mark.slow
async def test_the_python_client_correlates_and_publishes(client, product, name):
    configuration = {
        "CAMUNDA_REST_ADDRESS": product.url,
        "CAMUNDA_AUTH_STRATEGY": "BASIC",
        "CAMUNDA_BASIC_AUTH_USERNAME": fresh_id("user"),
        "CAMUNDA_BASIC_AUTH_PASSWORD": "correct horse battery staple",
    }
    user = {"name": configuration["CAMUNDA_BASIC_AUTH_USERNAME"], "permissions": ["signals:throw"]}
    await client.post("/v1/users", {**user, "password": configuration["CAMUNDA_BASIC_AUTH_PASSWORD"]}, expect=201)
    first, second = [await waiting(client, name, "k") for _ in range(2)]

    with CamundaClient(configuration=configuration) as camunda:
        correlated = await asyncio.to_thread(
            camunda.correlate_message, data=MessageCorrelationRequest(name=name, correlation_key="k")
        )
        published = await asyncio.to_thread(
            camunda.publish_message, data=MessagePublicationRequest(name=name, correlation_key="k", time_to_live=1000)
        )

    assert correlated.process_instance_key == str(first)
    assert await matched(client, int(published.message_key)) == {second}
