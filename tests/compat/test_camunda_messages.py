"""Correlating messages as Camunda 7 does (its MessageRestServiceImpl and DefaultCorrelationHandler say how)."""

from __future__ import annotations

import asyncio
import json

import generic_camunda_client
import pycamunda
import pycamunda.message
import pytest
from generic_camunda_client import CorrelationMessageDto, VariableValueDto

from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN, client_of
from tests.support.receiver import Answer
from tests.support.throwing import delivery, fresh_id, matched, recorded_ids, subscribe, token

PATH = "/engine-rest/message"


async def correlate(client, name, *, credential=ADMIN_TOKEN, headers=None, path=PATH, **members):
    """Return (status, body) of a message."""
    status, _, body = await client.request(
        "POST",
        path,
        json={"messageName": name, **members},
        headers={"Authorization": f"Bearer {credential}", **(headers or {})},
    )
    return status, None if body == b"" else body


async def correlated(client, name, **members):
    """Return what a message was correlated with."""
    status, body = await correlate(client, name, resultEnabled=True, **members)
    assert status == 200, body
    return body


def execution_of(execution, tenant=None):
    return {
        "resultType": "Execution",
        "execution": {"id": execution, "processInstanceId": execution, "ended": False, "tenantId": tenant},
        "processInstance": None,
    }


def mismatch(name):
    message = f"Cannot correlate message '{name}': No process definition or execution matches the parameters"
    return 400, {"type": "RestException", "message": message, "code": 0}


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_message_goes_to_the_execution_that_waits_and_to_nothing_else(client, webhooks, name):
    execution = fresh_id("execution")
    waiting = await subscribe(client, name, webhooks.url("/waiting"), executionId=execution, once=True)
    await subscribe(client, name, webhooks.url("/outside"))
    await subscribe(client, f"{name}.#", webhooks.url("/pattern"))
    variables = {"total": {"value": 5, "type": "Long"}, "note": {"value": "a"}}
    local = {"note": {"value": "b"}}

    answer = await correlate(client, name, processVariables=variables, processVariablesLocal=local, businessKey=None)

    assert answer == (204, None)
    await eventually(lambda: webhooks.requests)
    (request,) = webhooks.requests
    body = json.loads(request.body)
    assert (request.path, body["scope"], body["executionId"]) == ("/waiting", "execution", execution)
    assert body["variables"] == {
        "total": {"value": 5, "type": "Long", "valueInfo": {}},
        "note": {"value": "b", "type": "String", "valueInfo": {}},
    }
    assert await matched(client, body["id"]) == {waiting["id"]}
    assert (await client.get(f"/v1/subscriptions/{waiting['id']}"))["consumedBy"] == body["id"]
    assert await correlate(client, name) == (204, None), "now it is for what waits outside of executions"


@pytest.mark.parametrize(
    "named",
    [
        {"businessKey": "order-7"},
        {"correlationKeys": {"orderId": {"value": 7, "type": "Integer"}, "paid": {"value": True}}},
        {"correlationKeys": {"customer": {"value": None}}, "localCorrelationKeys": {"orderId": {"value": 7}}},
        {"businessKey": "order-7", "correlationKeys": {"customer": {"value": None}}},
    ],
    ids=["business key", "keys", "local keys", "both"],
)
async def test_a_message_is_correlated_by_what_it_names(client, name, named):
    execution = fresh_id("execution")
    keys = {"orderId": 7, "paid": True, "customer": None}
    await subscribe(client, name, executionId=execution, businessKey="order-7", correlationKeys=keys)
    others = {"businessKey": "order-8", "correlationKeys": {**keys, "orderId": 8, "customer": "x"}}
    await subscribe(client, name, executionId=fresh_id("execution"), **others)
    await subscribe(client, name, executionId=fresh_id("execution"))

    assert await correlated(client, name, **named) == [execution_of(execution)]


@pytest.mark.parametrize(
    "named",
    [
        {"businessKey": "order-9"},
        {"correlationKeys": {"orderId": {"value": "7"}}},
        {"correlationKeys": {"unknown": {"value": 7}}},
        {"correlationKeys": {"orderId": {"value": [7]}}},
        {"correlationKeys": {"orderId": {"value": 7}}, "localCorrelationKeys": {"orderId": {"value": 8}}},
        {"correlationKeys": {"order\0Id": {"value": "\ud800"}}},
        {"processInstanceId": "nope"},
        {"tenantId": "nope"},
    ],
)
async def test_a_message_that_nothing_waits_for_is_refused_and_nothing_happens(client, name, named):
    execution = fresh_id("execution")
    await subscribe(client, name, executionId=execution, businessKey="order-7", correlationKeys={"orderId": 7})

    assert await correlate(client, name, **named) == mismatch(name)
    assert (await client.get(f"/v1/signals?name={name}"))["items"] == []
    assert await correlated(client, name, all=True, **named) == []
    assert await correlate(client, name, all=True, **named) == (204, None)


async def test_a_message_for_a_process_instance_is_for_its_execution(client, name):
    first, second = fresh_id("execution"), fresh_id("execution")
    for execution in (first, second):
        await subscribe(client, name, executionId=execution)

    assert await correlated(client, name, processInstanceId=second) == [execution_of(second)]


async def test_a_message_that_several_wait_for_is_refused(client, name):
    first, second = fresh_id("execution"), fresh_id("execution")
    for execution in (first, second):
        await subscribe(client, name, executionId=execution, businessKey="k")

    status, body = await correlate(client, name, businessKey="k")

    assert (status, body["type"], body["code"]) == (400, "RestException", 0)
    assert body["message"] == (
        f"ENGINE-13031 Cannot correlate a message with name '{name}' to a single execution. 2 executions match the"
        " correlation keys: CorrelationSet [businessKey=k, processInstanceId=null, processDefinitionId=null,"
        " correlationKeys=null, localCorrelationKeys=null, tenantId=null, isTenantIdSet=false, isExecutionsOnly=false]"
    )
    results = await correlated(client, name, businessKey="k", all=True)
    assert results == [execution_of(first), execution_of(second)]


async def test_a_message_that_no_execution_waits_for_starts_what_waits_outside(client, name):
    tenant = fresh_id("tenant")
    subscription = await subscribe(client, name, tenantId=tenant)
    variables = {"n": {"value": 1, "type": "Short"}}

    (result,) = await correlated(
        client, name, businessKey="k", processVariables=variables, variablesInResultEnabled=True
    )

    (signal_id,) = await recorded_ids(client, name, 1)
    assert result == {
        "resultType": "ProcessDefinition",
        "execution": None,
        "processInstance": {
            "links": [],
            "id": f"{signal_id}-{subscription['id']}",
            "definitionId": None,
            "definitionKey": None,
            "businessKey": "k",
            "caseInstanceId": None,
            "ended": False,
            "suspended": False,
            "tenantId": tenant,
        },
        "variables": {"n": {"value": 1, "type": "Short", "valueInfo": {}}},
    }
    assert (await client.get(f"/v1/signals/{signal_id}"))["scope"] == "tenant"
    await subscribe(client, name)
    status, body = await correlate(client, name)
    assert (status, body["message"][:12]) == (400, "ENGINE-13030")
    assert "2 process definitions match the correlations keys" in body["message"]


async def test_what_does_not_receive_signals_does_not_wait_for_messages(client, webhooks, name):
    execution = fresh_id("execution")
    disabled = await subscribe(client, name, webhooks.answer("/gone", Answer(status=410)), executionId=execution)
    await correlated(client, name)
    await eventually_state(client, disabled, "disabled")
    assert await correlate(client, name) == mismatch(name)
    deleted = await subscribe(client, name, executionId=execution)
    await client.request("DELETE", f"/v1/subscriptions/{deleted['id']}")
    assert await correlate(client, name) == mismatch(name)
    await subscribe(client, name, executionId=execution, filter={"n": {"operator": "NUM_GT", "value": "5"}})
    assert await correlate(client, name, processVariables={"n": {"value": 5}}) == mismatch(name)
    paused = await subscribe(client, name, executionId=execution)
    await client.request("POST", f"/v1/subscriptions/{paused['id']}/pause")

    await correlated(client, name)

    signal_id = (await recorded_ids(client, name, 2))[-1]
    await delivery(client, {"id": signal_id}, paused, "parked")


async def eventually_state(client, subscription, state):
    async def get():
        return (await client.get(f"/v1/subscriptions/{subscription['id']}"))["state"] == state

    await eventually(get)


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_of_messages_correlated_at_once_exactly_one_consumes_what_waits(client, second_url, name):
    """Whichever of two gateways they come to."""
    waiting = await subscribe(client, name, executionId=fresh_id("execution"), once=True)

    async with client_of(second_url) as second:
        answers = await asyncio.gather(*(correlate(one, name) for _ in range(4) for one in (client, second)))

    assert sorted(status for status, _ in answers) == [204] + [400] * 7
    assert [answer for answer in answers if answer[0] == 400] == [mismatch(name)] * 7
    (signal_id,) = await recorded_ids(client, name, 1)
    assert await matched(client, signal_id) == {waiting["id"]}


async def test_a_repeat_with_the_same_key_is_the_same_message(client, name):
    key = {"Idempotency-Key": fresh_id("key")}
    assert await correlate(client, name, headers=key) == mismatch(name)
    execution = fresh_id("execution")
    await subscribe(client, name, executionId=execution, once=True)

    answers = [await correlate(client, name, resultEnabled=True, headers=key) for _ in range(2)]

    assert answers == [(200, [execution_of(execution)])] * 2
    assert len(await recorded_ids(client, name, 1)) == 1
    assert (await correlate(client, name, headers=key))[0] == 409, "another body"


async def test_a_message_reaches_no_tenant_that_its_caller_does_not(client, name):
    mine, theirs, nobodys = fresh_id("tenant"), fresh_id("tenant"), fresh_id("execution")
    executions = {tenant: fresh_id("execution") for tenant in (mine, theirs)}
    for tenant, execution in executions.items():
        await subscribe(client, name, executionId=execution, tenantId=tenant)
    credential = await token(client, "signals:throw", tenants=[mine])

    assert await correlated(client, name, credential=credential) == [execution_of(executions[mine], mine)]
    for named in ({"tenantId": theirs}, {"processInstanceId": executions[theirs]}, {"withoutTenantId": True}):
        assert await correlate(client, name, credential=credential, **named) == mismatch(name)
    await subscribe(client, name, executionId=nobodys)
    assert await correlated(client, name, withoutTenantId=True) == [execution_of(nobodys)]
    assert await correlated(client, name, tenantId=theirs) == [execution_of(executions[theirs], theirs)]


async def test_a_message_needs_the_permission_to_throw_its_signal(client, name):
    await subscribe(client, name)
    credential = await token(client, "signals:throw", names=["other"])

    status, body = await correlate(client, name, credential=credential)

    assert (status, body["type"], body["permissionName"]) == (403, "AuthorizationException", "CREATE")


INVALID = {
    "no name": ({"messageName": None}, "InvalidRequestException", "No message name supplied", None),
    "a tenant and none": (
        {"tenantId": "t", "withoutTenantId": True},
        "InvalidRequestException",
        "Parameter 'tenantId' cannot be used together with parameter 'withoutTenantId'.",
        None,
    ),
    "variables without a result": (
        {"variablesInResultEnabled": True},
        "InvalidRequestException",
        "Parameter 'variablesInResultEnabled' cannot be used without 'resultEnabled' set to true.",
        None,
    ),
    "a tenant and a process instance": (
        {"tenantId": "t", "processInstanceId": "e"},
        "BadUserRequestException",
        "ENGINE-13028 Cannot specify a tenant-id when correlate a message to a single process instance.",
        0,
    ),
    "a correlation key of an unknown type": (
        {"correlationKeys": {"k": {"value": 1, "type": "Intgr"}}},
        "InvalidRequestException",
        "Cannot deliver message: Unsupported value type 'Intgr'",
        None,
    ),
    "a variable of another type": (
        {"processVariables": {"v": {"value": "x", "type": "Integer"}}},
        "InvalidRequestException",
        "Cannot deliver message: Cannot convert value 'x' of type 'Integer' to java type java.lang.Integer",
        None,
    ),
    "a misshapen document": ({"correlationKeys": []}, "InvalidRequestException", "", None),
}


@pytest.mark.parametrize("case", INVALID)
async def test_an_invalid_message_is_refused_as_by_camunda(client, case):
    members, kind, message, code = INVALID[case]

    assert await correlate(client, "m", **members) == (400, {"type": kind, "message": message, "code": code})


async def test_a_message_to_another_engine_is_refused_as_by_camunda(client):
    path = "/engine-rest/engine/{}/message"
    message = "Cannot deliver message: No process engine available"

    answer = await correlate(client, "m", path=path.format("other"))

    assert answer == (400, {"type": "InvalidRequestException", "message": message, "code": None})
    assert await correlate(client, "m", path=path.format("default")) == mismatch("m")


async def test_the_generated_client_correlates_messages(client, product, name):
    execution = fresh_id("execution")
    await subscribe(client, name, executionId=execution, businessKey="order-7", correlationKeys={"orderId": 7})
    configuration = generic_camunda_client.Configuration(host=f"{product.url}/engine-rest")
    wanted = CorrelationMessageDto(
        message_name=name,
        business_key="order-7",
        correlation_keys={"orderId": VariableValueDto(value=7, type="Integer")},
        process_variables={"n": VariableValueDto(value=1)},
        result_enabled=True,
        variables_in_result_enabled=True,
    )

    with generic_camunda_client.ApiClient(configuration, "Authorization", f"Bearer {ADMIN_TOKEN}") as opened:
        api = generic_camunda_client.MessageApi(opened)
        (result,) = await asyncio.to_thread(api.deliver_message, correlation_message_dto=wanted)

    assert (result.result_type, result.execution.id, result.variables["n"].value) == ("Execution", execution, 1)


async def test_pycamunda_correlates_messages(client, product, name):
    def authorized(request):
        request.headers["Authorization"] = f"Bearer {ADMIN_TOKEN}"
        return request

    execution = fresh_id("execution")
    await subscribe(client, name, executionId=execution, businessKey="order-7", once=True)
    message = pycamunda.message.CorrelateSingle(
        url=f"{product.url}/engine-rest", message_name=name, business_key="order-7", result_enabled=True
    )
    message.auth = authorized

    (result,) = await asyncio.to_thread(message)

    assert result.execution.id_ == execution
    with pytest.raises(pycamunda.BadRequest):
        await asyncio.to_thread(message)
