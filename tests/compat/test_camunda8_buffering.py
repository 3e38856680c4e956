"""Messages of Camunda 8 with a time to live: they wait for a subscription."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.eventually import eventually
from tests.support.postgres import fresh_database
from tests.support.product import Process, client_of
from tests.support.receiver import Answer
from tests.support.throwing import fresh_id, matched, recorded, subscribe, token

PUBLICATION = "/v2/messages/publication"
HOUR = 3_600_000


async def publish(client, name, key="k", *, headers=None, expect=200, **more):
    """Return the answer to a message with a time to live of an hour."""
    document = {"name": name, "correlationKey": key, "timeToLive": HOUR, **more}
    status, _, answer = await client.request("POST", PUBLICATION, json=document, headers=headers or {})
    assert status == expect, answer
    return answer


async def waiting(client, name, key="k", **spec):
    """Return the id of a new subscription of an execution, which waits for one message."""
    return (await subscribe(client, name, executionId=fresh_id("execution"), once=True, businessKey=key, **spec))["id"]


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_message_waits_for_a_subscription_of_its_key_and_is_delivered_once(client, webhooks, name):
    answer = await publish(client, name, variables={"n": 1})
    other = await waiting(client, name, "another")
    assert (await client.get(f"/v1/signals?name={name}"))["items"] == []

    execution = fresh_id("execution")
    spec = {"executionId": execution, "businessKey": "k", "once": True}
    wanted = await subscribe(client, name, webhooks.url("/"), **spec)

    assert await matched(client, answer["messageKey"]) == {wanted["id"]}
    await eventually(lambda: webhooks.requests)
    signal = await recorded(client, answer["messageKey"])
    assert (signal["scope"], signal["executionId"], signal["payload"]) == ("execution", execution, {"n": 1})
    second = await subscribe(client, name, webhooks.url("/second"), **{**spec, "executionId": fresh_id("execution")})
    third = await publish(client, name)
    assert await matched(client, third["messageKey"]) == {second["id"]}, "the first message is not there any more"
    assert (await client.get(f"/v1/subscriptions/{other}"))["consumedBy"] is None


async def test_a_message_waits_for_a_subscription_outside_of_executions_whatever_its_key(client, name):
    keys = [(await publish(client, name, key))["messageKey"] for key in ("k", "")]

    start = await subscribe(client, name)

    assert [await matched(client, key) for key in keys] == [{start["id"]}] * 2


async def test_the_oldest_message_is_for_the_first_that_waits(client, name):
    keys = [(await publish(client, name))["messageKey"] for _ in range(3)]

    ids = [await waiting(client, name) for _ in range(3)]

    assert [await matched(client, key) for key in keys] == [{one} for one in ids]


async def test_a_message_waits_for_its_tenant(client, name):
    tenant = fresh_id("tenant")
    theirs = await publish(client, name, tenantId=tenant)
    untenanted = await publish(client, name)

    ids = [await waiting(client, name, **more) for more in ({"tenantId": fresh_id("tenant")}, {"tenantId": tenant}, {})]

    assert await matched(client, theirs["messageKey"]) == {ids[1]}
    assert await matched(client, untenanted["messageKey"]) == {ids[2]}


async def test_a_message_goes_to_a_subscription_that_is_changed_so_that_it_gets_it(client, name):
    spec = {"filter": {"n": {"operator": "NUM_GT", "value": "5"}}}
    subscription = await waiting(client, name, **spec)
    answer = await publish(client, name, variables={"n": 1})
    await publish(client, name, "another", variables={"n": 9})

    await client.request("PATCH", f"/v1/subscriptions/{subscription}", json={"filter": None})

    assert await matched(client, answer["messageKey"]) == {subscription}


async def test_a_message_goes_to_a_subscription_that_is_no_longer_disabled(client, webhooks, name):
    gone = webhooks.answer("/gone", Answer(status=410))
    subscription = await subscribe(client, name, gone, executionId=fresh_id("execution"), businessKey="k")
    await publish(client, name)

    async def is_disabled():
        return (await client.get(f"/v1/subscriptions/{subscription['id']}"))["disabledBecause"]

    await eventually(is_disabled)
    answer = await publish(client, name)
    await client.request("POST", f"/v1/subscriptions/{subscription['id']}/resume", json={})

    assert await matched(client, answer["messageKey"]) == {subscription["id"]}


@pytest.mark.slow
async def test_a_message_whose_time_to_live_is_over_is_recorded_and_owed_to_nobody(client, name):
    answer = await publish(client, name, timeToLive=1)

    assert await matched(client, answer["messageKey"]) == set()
    await subscribe(client, name)
    signal = await recorded(client, answer["messageKey"])
    assert (signal["scope"], signal["businessKey"]) == ("untenanted", "k")


async def test_of_messages_with_one_id_the_first_is_accepted_until_its_time_to_live_is_over(client, name):
    other = {"Authorization": f"Bearer {await token(client, 'signals:throw')}"}
    first = await publish(client, name, messageId="m-1")
    problem = await publish(client, name, messageId="m-1", headers=other, expect=409)
    await publish(client, name, messageId="m-1", timeToLive=0, expect=409)
    wanted = await waiting(client, name)
    assert await matched(client, first["messageKey"]) == {wanted}

    await publish(client, name, messageId="m-1", expect=409)

    rejected = "Command 'PUBLISH' rejected with code 'ALREADY_EXISTS'"
    expected = "Expected to publish a new message with id 'm-1'"
    assert problem == {
        "type": "about:blank",
        "title": "ALREADY_EXISTS",
        "status": 409,
        "detail": f"{rejected}: {expected}, but a message with that id was already published",
        "instance": PUBLICATION,
    }
    for more in ({"messageId": "m-2"}, {"key": "k-2"}, {"tenantId": fresh_id("tenant")}):
        await publish(client, name, **{"messageId": "m-1", **more})
    await publish(client, name, "short", messageId="m-1", timeToLive=1)
    await eventually(lambda: _is_accepted(client, name))


async def _is_accepted(client, name):
    document = {"name": name, "correlationKey": "short", "messageId": "m-1"}
    return (await client.request("POST", PUBLICATION, json=document))[0] == 200


async def test_a_message_that_is_correlated_at_once_keeps_its_id_as_well(client, name):
    first, second = [await waiting(client, name) for _ in range(2)]

    answer = await publish(client, name, messageId="m-1")
    await publish(client, name, messageId="m-1", expect=409)

    assert await matched(client, answer["messageKey"]) == {first}
    other = await publish(client, name, messageId="m-2")
    assert await matched(client, other["messageKey"]) == {second}


async def test_a_repeat_with_the_same_key_is_the_same_buffered_message(client, name):
    headers = {"Idempotency-Key": fresh_id("key")}
    answers = [await publish(client, name, messageId="m-1", headers=headers) for _ in range(2)]
    wanted = [await waiting(client, name) for _ in range(2)]
    assert await matched(client, answers[0]["messageKey"]) == {wanted[0]}
    answers.append(await publish(client, name, messageId="m-1", headers=headers))

    assert [answer["messageKey"] for answer in answers] == [answers[0]["messageKey"]] * 3
    assert (await client.get(f"/v1/subscriptions/{wanted[1]}"))["consumedBy"] is None


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_messages_and_subscriptions_that_come_at_the_same_moment_find_each_other(client, second_url, name):
    keys = [str(number) for number in range(20)]

    async with client_of(second_url) as other:
        together = [(publish(client, name, key), waiting(other, name, key)) for key in keys]
        done = await asyncio.gather(*(one for pair in together for one in pair))

    answers, ids = done[::2], done[1::2]
    assert [await matched(client, answer["messageKey"]) for answer in answers] == [{one} for one in ids]


@pytest.mark.slow
async def test_no_more_are_buffered_for_a_tenant_than_allowed_and_the_ledger_counts_them(
    store_server, tmp_path, webhooks, name
):
    async with fresh_database(store_server) as store_url:
        environment = {"STORE_URL": store_url, "DATA_DIR": str(tmp_path), "BUFFERED_MESSAGES_LIMIT": "2"}
        async with Process("run", environment=environment, log=tmp_path / "log") as process:
            async with client_of(process.url) as client:
                answers = [await publish(client, name, variables={"n": n}) for n in range(2)]
                document = {"name": name, "correlationKey": "k", "timeToLive": HOUR}
                status, headers, problem = await client.request("POST", PUBLICATION, json=document)
                assert (status, problem["title"], headers["Retry-After"]) == (503, "RESOURCE_EXHAUSTED", "10")
                assert problem["detail"] == (
                    f"Nothing waits for a message with name '{name}' and correlation key 'k' now, and no more messages"
                    " are buffered for tenant '<default>': publish it again."
                )
                await publish(client, name, tenantId="another")
                assert (await client.get("/v1/ledger"))["bufferedMessages"] == 3
            process.kill()
            await process.process.wait()
            await process.start()
            async with client_of(process.url) as client:
                start = await subscribe(client, name, webhooks.url("/"))
                for answer in answers:
                    assert await matched(client, answer["messageKey"]) == {start["id"]}
                await eventually(lambda: len(webhooks.requests) == 2)
                ledger = await client.get("/v1/ledger")
                assert (ledger["bufferedMessages"], ledger["unaccounted"], ledger["lost"]) == (1, 0, 0)
                status, _, problem = await client.request("POST", PUBLICATION, json=document)
                assert status == 200, problem
