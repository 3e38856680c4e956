"""``/asyncapi.json`` says what taps, queues and webhooks get; and linters accept it, and ``/openapi.json``."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.support.eventually import eventually
from tests.support.node import NODE, install
from tests.support.queues import declare, delete, fresh_queue, take
from tests.support.rabbitmq import on_channel
from tests.support.receiver import Answer
from tests.support.throwing import fresh_id, token

pytestmark = pytest.mark.slow

LINTER = Path(__file__).parents[1] / "support" / "description_linter"
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=1"}
_PROPERTIES = ("type", "timestamp", "content_type", "delivery_mode", "app_id", "message_id")
DELIVERIES = {
    "standard": "delivery",
    "cloudevents-structured": "structuredDelivery",
    "cloudevents-binary": "binaryDelivery",
}
EVENTS = {"cloudevents-structured": "structuredWebhook", "cloudevents-binary": "binaryWebhook"}


@pytest.fixture
async def described(client):
    return await client.get("/asyncapi.json")


def resolved(document, part):
    """Return what *part* refers to, or *part* itself."""
    for name in part.get("$ref", "#").split("/")[1:]:
        document = document[name]
        part = document
    return resolved(document, part) if "$ref" in part else part


def validate(document, schema, value):
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def message_of(document, channel, name=None):
    """Return the message *name*, or else the only one, of *channel*."""
    messages = document["channels"][channel]["messages"]
    [message] = [resolved(document, one) for known, one in messages.items() if name in {known, None}]
    return message


def check_message(document, message, properties, headers, body):
    """Check what came against the description of the *message*; the properties, if they are AMQP's."""
    validate(document, message["headers"], headers)
    attributes = {name for name in headers if name.startswith(("ce-", "cloudEvents:"))}
    assert attributes <= set(message["headers"]["properties"])
    validate(document, message["payload"], body)
    if properties is not None:
        validate(document, message["x-amqp-properties"], properties)


def address_of(document, channel, **values):
    """Return the address of *channel* for these values of its parameters."""
    known = document["channels"][channel]
    assert set(values) == set(known["parameters"])
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], known["address"])


def of_amqp(properties):
    """Return those of pika's *properties* that a message has."""
    found = {name: getattr(properties, name) for name in _PROPERTIES}
    return {name: value for name, value in found.items() if value is not None}


async def taken(url, queue):
    """Return the message in *queue*, if it has one."""
    [messages] = await take(url, queue)
    return messages[0] if messages else None


def declare_again(channel, exchange):
    """Declare *exchange* as it is described, which RabbitMQ refuses if it is another one."""
    channel.exchange_declare(
        exchange["name"], exchange["type"], durable=exchange["durable"], auto_delete=exchange["autoDelete"]
    )


async def test_linters_find_nothing_wrong(client, tmp_path):
    """The parser of the AsyncAPI initiative, and Spectral, on which that parser is built, with all rules of OpenAPI."""
    paths = [tmp_path / name for name in ("openapi.json", "asyncapi.json")]
    for path in paths:
        path.write_text(json.dumps(await client.get(f"/{path.name}")))
    program = await asyncio.to_thread(install, LINTER) / "lint.mjs"

    process = await asyncio.create_subprocess_exec(
        NODE, program, *paths, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(120):
        said, _ = await process.communicate()

    assert (said.decode(), process.returncode) == ("", 0)


async def test_every_channel_has_a_title_and_every_operation_says_who_does_what(described):
    assert "Actions are from the broker's side" in described["info"]["description"]
    titles = [channel["title"] for channel in described["channels"].values()]
    summaries = [operation["summary"] for operation in described["operations"].values()]
    assert len(set(titles)) == len(set(summaries)) == 6
    assert all(summary.startswith("The broker ") for summary in summaries)


async def test_every_header_property_and_member_is_described_with_a_valid_example(described):
    for message in described["components"]["messages"].values():
        payload = resolved(described, message["payload"])
        groups = [message["headers"], message.get("x-amqp-properties", {}), payload]
        members = [item for group in groups for item in group.get("properties", {}).items()]
        assert members
        for name, member in members:
            assert member["description"], name
            assert member["examples"], name
            for value in member["examples"]:
                validate(described, member, value)


@pytest.mark.transports("rabbitmq")
async def test_a_tap_finds_the_exchanges_and_gets_the_messages_that_are_described(
    client, described, product_vhost, name
):
    tenant, execution = fresh_id("acme"), fresh_id("order")
    limited = client.caller(await token(client, "signals:throw", tenants=[tenant]))
    throws = [
        (client, "broadcasts", {"name": name}, {}),
        (client, "signalsForTenants", {"tenantId": tenant, "name": name}, {"tenantId": tenant}),
        (limited, "signalsForTenants", {"tenantId": tenant, "name": name}, {}),
        (client, "signalsWithoutTenant", {"name": name}, {"withoutTenantId": True}),
        (client, "signalsForExecutions", {"executionId": execution, "name": name}, {"executionId": execution}),
    ]
    for caller, channel, parameters, spec in throws:
        binding = described["channels"][channel]["bindings"]["amqp"]
        exchange, address = binding["exchange"], address_of(described, channel, **parameters)
        await on_channel(product_vhost, lambda at, it=exchange: declare_again(at, it))
        queue = await declare(product_vhost, f"{exchange['name']}={address}")
        document = {"name": name, "payload": {"n": 1}, "businessKey": "order-7", "orderingKey": "policy-42", **spec}
        thrown = await caller.post("/v1/signals", document, expect=202, **TRACE)

        routing_key, properties, body = await eventually(lambda queue=queue: taken(product_vhost, queue))

        is_copy = caller is limited
        assert routing_key == (f"untenanted.{name}" if is_copy else address)
        message = message_of(described, channel)
        check_message(described, message, of_amqp(properties), properties.headers, json.loads(body))
        assert properties.headers["ce-id"] == str(thrown["id"])
        await delete(product_vhost, queue)


@pytest.mark.transports("rabbitmq")
@pytest.mark.parametrize("form", DELIVERIES)
async def test_the_queue_of_a_subscription_gets_the_message_that_is_described(
    client, described, product_vhost, name, form
):
    queue = await declare(product_vhost, queue=fresh_queue())
    address = address_of(described, "queues", queue=queue)
    assert described["channels"]["queues"]["bindings"]["amqp"]["is"] == "queue"
    target = {"kind": "queue", "queue": address, "format": form}
    await client.post("/v1/subscriptions", {"name": name, "tenantId": "acme", "target": target}, expect=201)
    await client.post("/v1/signals", all_of_it(name), expect=202, **TRACE)

    _, properties, body = await eventually(lambda: taken(product_vhost, queue))

    headers, content = properties.headers, json.loads(body)
    message = message_of(described, "queues", DELIVERIES[form])
    check_message(described, message, of_amqp(properties), headers, content)
    assert properties.content_type == message["contentType"]
    assert {"delivery-id", "attempt"} <= set(message["headers"]["required"])
    known = {name for name in message["headers"]["properties"] if name.startswith("cloudEvents:")}
    assert known - set(headers) == ({"cloudEvents:executionid"} if form == "cloudevents-binary" else set())
    if form == "cloudevents-structured":
        assert set(resolved(described, message["payload"])["properties"]) - set(content) == {"executionid"}
    await delete(product_vhost, queue)


def all_of_it(name):
    """Return a throw whose signal has every attribute of an event but an execution, which goes without a tenant."""
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    throw = {"name": name, "payload": {"n": 1}, "orderingKey": "policy-42", "expiresAt": soon}
    return {**throw, "tenantId": "acme"}


@pytest.mark.parametrize("form", EVENTS)
async def test_a_webhook_gets_the_event_that_is_described(client, described, webhooks, name, form):
    url = webhooks.answer(f"/{form}", Answer(headers={"WebHook-Allowed-Origin": "*"}), Answer())
    target = {"kind": "webhook", "url": url, "format": form, "requestOrigin": "broker.example.com"}
    await client.post("/v1/subscriptions", {"name": name, "tenantId": "acme", "target": target}, expect=201)
    await client.post("/v1/signals", all_of_it(name), expect=202, **TRACE)

    request = await eventually(lambda: next((one for one in webhooks.requests if one.method == "POST"), None))

    headers, content = {key.lower(): value for key, value in request.headers.items()}, json.loads(request.body)
    message = message_of(described, "webhooks", EVENTS[form])
    check_message(described, message, None, headers, content)
    assert headers["content-type"] == message["contentType"]
    in_headers, in_body = message["headers"]["properties"], resolved(described, message["payload"])
    if form == "cloudevents-binary":
        assert set(in_headers) - set(headers) == {"ce-executionid"}
    else:
        assert set(in_headers) - set(headers) == set()
        assert set(in_body["properties"]) - set(content) == {"executionid"}


async def test_a_webhook_gets_the_message_that_is_described(client, described, webhooks, name):
    url = webhooks.url("/described")
    await client.post("/v1/subscriptions", {"name": name, "target": {"kind": "webhook", "url": url}}, expect=201)
    variables = {"policy": {"value": 42, "type": "Integer", "valueInfo": {}}}
    await client.post("/v1/signals", {"name": name, "variables": variables}, expect=202, **TRACE)

    request = await eventually(lambda: next((one for one in webhooks.requests if one.path == "/described"), None))

    headers = {key.lower(): value for key, value in request.headers.items()}
    body = json.loads(request.body)
    message = message_of(described, "webhooks", "webhook")
    check_message(described, message, None, headers, body)
    assert set(body) == set(resolved(described, message["payload"])["properties"])
    assert described["operations"]["sendWebhooks"]["bindings"]["http"]["method"] == request.method
