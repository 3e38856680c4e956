"""Of a member that a body has twice the last value counts, for every part: as for Jackson and Node."""

from __future__ import annotations

import json

import pytest
from standardwebhooks import Webhook

from tests.support.eventually import eventually
from tests.support.receiver import Answer
from tests.support.throwing import delivery, endpoint, matched

JSON = {"Content-Type": "application/json"}
TWICE = '{"kind":"first","n":1,"kind":"last"}'
VARIABLES = '{"kind":{"value":"first"},"kind":{"value":"last"}}'
EVENT = '"specversion":"1.0","source":"/tests","id":"other"'


async def post(client, path, body, *, expect, **headers):
    status, _, answer = await client.request("POST", path, data=body.encode(), headers={**JSON, **headers})
    assert status == expect, answer
    return answer


async def native(client, name):
    body = f'{{"name":"other.{name}","payload":{{"kind":"none"}},"name":"{name}","payload":{TWICE}}}'
    await post(client, "/v1/signals", body, expect=202)


async def batch(client, name):
    body = f'{{"signals":[{{"name":"other.{name}","name":"{name}","payload":{TWICE}}}]}}'
    await post(client, "/v1/signals/batch", body, expect=200)


async def structured(client, name):
    body = f'{{{EVENT},"id":"{name}","type":"other.{name}","type":"{name}","data":{{"kind":"none"}},"data":{TWICE}}}'
    headers = {"Content-Type": "application/cloudevents+json"}
    await post(client, "/v1/cloudevents", body, expect=202, **headers)


async def binary(client, name):
    headers = {"ce-specversion": "1.0", "ce-id": name, "ce-source": "/tests", "ce-type": name}
    await post(client, "/v1/cloudevents", TWICE, expect=202, **headers)


async def camunda(client, name):
    body = f'{{"name":"other.{name}","name":"{name}","variables":{{}},"variables":{VARIABLES}}}'
    await post(client, "/engine-rest/signal", body, expect=204)


async def camunda8(client, name):
    body = f'{{"signalName":"other.{name}","signalName":"{name}","variables":{{}},"variables":{TWICE}}}'
    await post(client, "/v2/signals/broadcast", body, expect=200)


async def unleash(client, name):
    _, token = await endpoint(client, name)
    await post(client.caller(token), f"/api/signal-endpoint/{name}", TWICE, expect=200)


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
@pytest.mark.parametrize("throw", [native, batch, structured, binary, camunda, camunda8, unleash])
async def test_the_last_value_is_filtered_by_stored_found_delivered_and_signed(client, webhooks, name, throw):
    name = name.replace(".", "-")  # an endpoint can have it, too

    async def subscribe(kind, target):
        filter_ = {"kind": {"operator": "IN", "values": [kind]}}
        return await client.post("/v1/subscriptions", {"name": name, "target": target, "filter": filter_}, expect=201)

    webhooks.answer("/plain", Answer())
    webhooks.answer("/template", Answer())
    plain = await subscribe("last", {"kind": "webhook", "url": webhooks.url("/plain")})
    template = {"bodyTemplate": '{"is": "{{payload.kind}}"}'}
    templated = await subscribe("last", {"kind": "webhook", "url": webhooks.url("/template"), **template})
    await subscribe("first", {"kind": "webhook", "url": webhooks.url("/first")})

    await throw(client, name)

    async def found():
        page = await client.get(f"/v1/signals?name={name}&payload.kind=last")
        return page["items"]

    [signal] = await eventually(found)
    assert signal["payload"]["kind"] == "last"
    assert (await client.get(f"/v1/signals?name={name}&payload.kind=first"))["items"] == []
    assert await matched(client, signal["id"]) == {plain["id"], templated["id"]}
    for subscription in (plain, templated):
        await delivery(client, signal, subscription, "delivered")
    sent = {request.path: request for request in webhooks.requests}
    assert sent.keys() == {"/plain", "/template"}
    verified = Webhook(plain["secret"]).verify(sent["/plain"].body, dict(sent["/plain"].headers))
    assert verified["payload"]["kind"] == "last"
    assert json.loads(sent["/template"].body) == {"is": "last"}
