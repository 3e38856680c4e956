"""Whom a Camunda signal reaches (section E of what Camunda 7 does), and when."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import fresh_id, matched, recorded_ids, subscribe, throw

pytestmark = pytest.mark.transports("embedded", "rabbitmq")


async def signal(client, name, *, expect=204, key=None, **spec):
    """Throw a signal the way Camunda's callers do; return the answer's body."""
    headers = {} if key is None else {"Idempotency_Key": key}
    return await client.post("/engine-rest/signal", {"name": name, **spec}, expect=expect, **headers)


def received(webhooks):
    return {request.path: json.loads(request.body) for request in webhooks.requests}


async def waiting(client, name):
    """Return who still waits for *name*, by execution."""
    rows = await client.get(f"/engine-rest/event-subscription?eventName={name}")
    return {row["executionId"] for row in rows}


@pytest.mark.slow
async def test_nobody_waits_and_that_is_no_error(client, webhooks, name):
    await signal(client, name)
    await subscribe(client, name, webhooks.url("/late"))

    (signal_id,) = await recorded_ids(client, name, 1)
    assert await matched(client, signal_id) == set(), "a signal is not kept for who comes later"


@pytest.mark.slow
async def test_all_who_wait_are_reached_once(client, webhooks, name):
    executions = {fresh_id("execution") for _ in range(3)}
    for execution in executions:
        await subscribe(client, name, webhooks.url(f"/{execution}"), executionId=execution, once=True)

    await signal(client, name, variables={"v": {"value": 1}})
    await eventually(lambda: len(webhooks.requests) == 3)
    await signal(client, name, variables={"v": {"value": 2}})
    _, second = await recorded_ids(client, name, 2)

    assert await matched(client, second) == set()
    assert {path[1:] for path in received(webhooks)} == executions
    assert [body["variables"] for body in received(webhooks).values()] == [
        {"v": {"value": 1, "type": "Integer", "valueInfo": {}}}
    ] * 3
    assert await waiting(client, name) == set()


@pytest.mark.slow
async def test_an_execution_is_reached_alone_and_then_gone(client, webhooks, name):
    a, b = fresh_id("a"), fresh_id("b")
    for execution in (a, b):
        await subscribe(client, name, webhooks.url(f"/{execution}"), executionId=execution, once=True)

    wrong = await signal(client, f"{name}.other", executionId=a, expect=500)
    assert wrong == {
        "type": "RestException",
        "message": f"Execution '{a}' has not subscribed to a signal event with name '{name}.other'. is empty",
        "code": 0,
    }
    await signal(client, name, executionId=a, variables={"v": {"value": "x"}})
    await eventually(lambda: webhooks.requests)
    gone = await signal(client, name, executionId=a, expect=500)

    assert gone == {
        "type": "NullValueException",
        "message": f"Cannot find execution with id '{a}': execution is null",
        "code": 0,
    }
    assert list(received(webhooks)) == [f"/{a}"]
    assert await waiting(client, name) == {b}


async def test_a_repeat_under_the_same_key_is_answered_as_the_first_throw(client, name):
    """The answer may have been lost on the way, and the execution moved on."""
    execution = fresh_id("execution")
    await signal(client, name, executionId=execution, expect=500, key=f"{name} early")
    once = await subscribe(client, name, executionId=execution, once=True)
    await signal(client, name, executionId=execution, expect=500, key=f"{name} early")

    for _ in range(2):
        await signal(client, name, executionId=execution, key=name)
        (consumer,) = await recorded_ids(client, name, 1)
    assert await matched(client, consumer) == {once["id"]}
    await signal(client, name, executionId=execution, expect=500, key=f"{name} late")


async def test_names_have_no_wildcards(client, name):
    await subscribe(client, f"{name}%", once=True, executionId=fresh_id("execution"))

    await signal(client, f"{name}b")
    await recorded_ids(client, f"{name}b", 1)
    assert len(await waiting(client, f"{name}%25")) == 1

    await signal(client, f"{name}%")
    await recorded_ids(client, f"{name}%25", 1)
    assert await waiting(client, f"{name}%25") == set()


@pytest.mark.slow
async def test_a_hundred_signals_at_once_consume_one_catch_event_once(client, webhooks, name):
    """In Camunda all but one of the callers fail with an OptimisticLockingException."""
    once = await subscribe(client, name, webhooks.url("/"), executionId=fresh_id("execution"), once=True)

    await asyncio.gather(*(signal(client, name, variables={"n": {"value": n}}) for n in range(100)))

    signals = await recorded_ids(client, name, 100)
    deliveries = (await client.get(f"/v1/deliveries?subscriptionId={once['id']}"))["items"]
    assert [delivery["signalId"] in signals for delivery in deliveries] == [True]
    await eventually(lambda: webhooks.requests)
    assert len(webhooks.requests) == 1


@pytest.mark.slow
async def test_a_signal_reaches_who_subscribed_before_it_and_nobody_who_subscribed_after(client, name):
    """Raced: signals and subscriptions at the same time, and every answer counts."""
    for round_ in range(10):
        racing = f"{name}.{round_}"
        early = await subscribe(client, racing)
        results = await asyncio.gather(
            *(subscribe(client, racing) for _ in range(3)), *(throw(client, racing) for _ in range(3))
        )
        late = await subscribe(client, racing)
        signals = [result["id"] for result in results if "scope" in result]

        for signal_id in signals:
            reached = await matched(client, signal_id)
            assert early["id"] in reached
            assert late["id"] not in reached
        after = await throw(client, racing)
        subscribed = {result["id"] for result in results if "target" in result}
        assert await matched(client, after["id"]) == {early["id"], late["id"], *subscribed}


WRITERS = {
    "php": '{"price":12.50,"url":"https:\\/\\/x"}',
    "dotnet": '{"price":12.50,"n":"M\\u00FCller"}',
    "java": '{"price":1.25E1}',
    "indented": '{\n  "price": 12.5\n}\n',
    "jackson": '{ "price" : 12.5 }',
    "repeated": '{"price":0,"price":12.5}',
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Json", "Object"])
async def test_a_filter_sees_what_json_means_however_its_sender_writes_it(client, webhooks, name, kind):
    rule = {"v.price": {"operator": "NUM_EQ", "value": "12.5"}}
    await subscribe(client, name, webhooks.url("/"), filter=rule)
    info = {} if kind == "Json" else {"objectTypeName": "a.B", "serializationDataFormat": "application/json"}

    for writer, text in WRITERS.items():
        variables = {"v": {"value": text, "type": kind, "valueInfo": info}}
        await signal(client, name, variables=variables, businessKey=writer)
    await eventually(lambda: len(webhooks.requests) == len(WRITERS))

    bodies = {body["businessKey"]: body for body in map(json.loads, (one.body for one in webhooks.requests))}
    assert {writer: body["payload"]["v"] for writer, body in bodies.items()} == {
        writer: json.loads(text) for writer, text in WRITERS.items()
    }
    assert {writer: body["variables"]["v"] for writer, body in bodies.items()} == {
        writer: {"value": text, "type": kind, "valueInfo": info} for writer, text in WRITERS.items()
    }


async def test_an_indented_variable_may_be_as_long_as_a_payload(client, webhooks, name):
    """Its text travels in the message's body: a header has room for 48 KiB of types only."""
    await subscribe(client, name, webhooks.url("/"))
    text = json.dumps({"lines": ["x" * 100] * 3000}, indent=2)

    await signal(client, name, variables={"v": {"value": text, "type": "Json"}})
    await eventually(lambda: webhooks.requests)

    assert json.loads(webhooks.requests[0].body)["variables"]["v"]["value"] == text


async def test_transient_variables_reach_their_receivers_and_say_so(client, webhooks, name):
    """Also on a retry, for which they are kept with the signal."""
    url = webhooks.answer("/", Answer(status=503), Answer())
    await subscribe(client, name, url, retry={"schedule": [0], "maxAttempts": 2})
    file = {"filename": "a.txt", "transient": True}
    variables = {
        "doc": {"value": "aGk=", "type": "File", "valueInfo": file},
        "order": {"value": '{"id": 7}', "type": "Json", "valueInfo": {"transient": True}},
        "plain": {"value": 1, "valueInfo": {"transient": True}},
    }

    await signal(client, name, variables=variables)
    await eventually(lambda: len(webhooks.requests) == 2)

    for request in webhooks.requests:
        body = json.loads(request.body)
        assert body["payload"] == {"doc": "aGk=", "order": {"id": 7}, "plain": 1}
        assert body["variables"] == {
            "doc": {"value": "aGk=", "type": "File", "valueInfo": file},
            "order": {"value": '{"id": 7}', "type": "Json", "valueInfo": {"transient": True}},
            "plain": {"value": 1, "type": "Integer", "valueInfo": {"transient": True}},
        }
