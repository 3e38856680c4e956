"""The AsyncAPI description: the messages that taps, queues and webhooks get, made from the topology and the models."""

from __future__ import annotations

from typing import Any

from broker.cloudevents import JSON, STRUCTURED
from broker.schemas.signals import SignalSchema
from broker.targets import Format
from broker.topology import BY_NAME, ROUTED, TOPOLOGY
from gateway.definitions import define
from gateway.message_parts import (
    EVENT,
    OF_DELIVERY,
    PAYLOAD,
    TAP_HEADERS,
    object_of,
    properties,
    queue_headers,
    webhook_headers,
)

_NAME = {"description": "The signal's name, or a pattern over its words: `*` is one word, `#` any number of words."}
_ID = {"description": "One word: every byte (UTF-8) outside `[A-Za-z0-9_-]` is percent-encoded."}
_QUEUE = {"description": "The subscriber's queue, which the subscription names."}
_BINDING = "0.3.0"
_AS_SENT = "The body is the payload, byte for byte as it was sent. Headers that are not described may change."
_AN_EVENT = "The body is an event of CloudEvents 1.0, in which the payload is byte for byte as it was sent."
_SIGNED = "Signed as Standard Webhooks say."
_SUMMARIES = {
    "broadcasts": "The broker publishes a broadcast: the taps that are bound to its name get it.",
    "signalsForTenants": "The broker publishes a signal for a tenant: the taps that are bound to both get it.",
    "signalsWithoutTenant": "The broker publishes a signal for subscribers without a tenant: their taps get it.",
    "signalsForExecutions": "The broker publishes a signal for an execution: the taps that are bound to both get it.",
    "queues": "The broker publishes a delivery to the queue that its subscription names.",
    "webhooks": "The broker calls the URL that the subscription of a delivery names.",
}
"""What the operation of each channel does."""
_OF_SIGNAL = ["id", "name", "scope", "tenantId", "executionId", "createdAt", "businessKey", "variables", "payload"]
"""The members of a signal that a webhook tells."""


def describe_messages(*, version: str) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of what the product sends to its subscribers, by RabbitMQ and by webhooks."""
    channels = {
        "broadcasts": _routed("Broadcasts", "{name}", BY_NAME, "Broadcasts.", name=_NAME),
        "signalsForTenants": _routed(
            "Signals for a tenant",
            "tenant.{tenantId}.{name}",
            ROUTED,
            "Signals for a tenant, and broadcasts by callers that are limited to tenants.",
            tenantId=_ID,
            name=_NAME,
        ),
        "signalsWithoutTenant": _routed(
            "Signals without a tenant",
            "untenanted.{name}",
            ROUTED,
            "Signals for subscribers without a tenant.",
            name=_NAME,
        ),
        "signalsForExecutions": _routed(
            "Signals for an execution",
            "execution.{executionId}.{name}",
            ROUTED,
            "Signals for an execution.",
            executionId=_ID,
            name=_NAME,
        ),
        "queues": {
            "address": "{queue}",
            "title": "Queues of subscriptions",
            "description": "Subscriptions with a queue as their target.",
            "parameters": {"queue": _QUEUE},
            "messages": _messages("delivery", "structuredDelivery", "binaryDelivery"),
            "bindings": {"amqp": {"is": "queue", "queue": {"durable": True}, "bindingVersion": _BINDING}},
        },
        "webhooks": {
            "address": None,
            "title": "Webhooks",
            "description": "Subscriptions with a webhook as their target, at the URL that they name.",
            "messages": _messages("webhook", "structuredWebhook", "binaryWebhook"),
        },
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "signal-broker",
            "version": version,
            "description": "The messages that subscribers get: in queues of RabbitMQ, and as webhooks."
            " Actions are from the broker's side: what it sends, an application receives.",
            "license": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": JSON,
        "channels": channels,
        "operations": {f"send{name[0].upper()}{name[1:]}": _operation(name, channels[name]) for name in channels},
        "components": {
            "messages": {message["name"]: message for message in (*_queued(), *_called())},
            "schemas": _schemas(),
        },
    }


def _routed(title: str, address: str, exchange: str, about: str, **parameters: dict[str, str]) -> dict[str, Any]:
    kind = next(one.kind for one in TOPOLOGY.exchanges if one.name == exchange)
    found = {"name": exchange, "type": kind, "durable": True, "autoDelete": False}
    return {
        "address": address,
        "title": title,
        "description": f"{about} A tap binds a queue of its own to the exchange, with this key.",
        "parameters": parameters,
        "messages": _messages("signal"),
        "bindings": {"amqp": {"is": "routingKey", "exchange": found, "bindingVersion": _BINDING}},
    }


def _messages(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _operation(name: str, channel: dict[str, Any]) -> dict[str, Any]:
    published = {"amqp": {"deliveryMode": 2, "timestamp": True, "bindingVersion": _BINDING}}
    called = {"http": {"method": "POST", "bindingVersion": _BINDING}}
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": _SUMMARIES[name],
        "messages": [{"$ref": f"#/channels/{name}/messages/{message}"} for message in channel["messages"]],
        "bindings": published if "bindings" in channel else called,
    }


def _queued() -> list[dict[str, Any]]:
    """Return the messages of RabbitMQ; AsyncAPI has no place for the properties, so they are an extension."""
    standard, binary, queue = queue_headers(), queue_headers(is_binary=True), "as the queue of a subscription gets it"
    found = [
        _message("signal", "A signal, as a tap gets it.", _AS_SENT, TAP_HEADERS, "Payload"),
        _message("delivery", f"A signal, {queue}.", _AS_SENT, standard, "Payload"),
        _message("structuredDelivery", _titled(Format.STRUCTURED, queue), _AN_EVENT, standard, "Event"),
        _message("binaryDelivery", _titled(Format.BINARY, queue), _AS_SENT, binary, "Payload"),
    ]
    return [{**message, "x-amqp-properties": properties(message["contentType"])} for message in found]


def _called() -> list[dict[str, Any]]:
    """Return the messages that are requests."""
    standard, structured, binary = webhook_headers(), webhook_headers(STRUCTURED), webhook_headers(is_binary=True)
    templated, webhook = f"{_SIGNED} A template in the target may replace the body.", "as a webhook gets it"
    signed = f"{_SIGNED} {_AN_EVENT}"
    return [
        _message("webhook", f"A signal, {webhook}.", templated, standard, "Webhook"),
        _message("structuredWebhook", _titled(Format.STRUCTURED, webhook), signed, structured, "Event"),
        _message("binaryWebhook", _titled(Format.BINARY, webhook), f"{_SIGNED} {_AS_SENT}", binary, "Payload"),
    ]


def _titled(form: Format, how: str) -> str:
    return f"A signal, {how} with `format: {form.value}`."


def _message(name: str, title: str, summary: str, headers: dict[str, Any], payload: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "summary": summary,
        "contentType": STRUCTURED if payload == "Event" else JSON,
        "headers": headers,
        "payload": {"$ref": f"#/components/schemas/{payload}"},
    }


def _schemas() -> dict[str, Any]:
    found = define({SignalSchema}, "#/components/schemas/{model}")
    signal = found.pop(SignalSchema.__name__)["properties"]
    body = object_of({name: signal[name] for name in _OF_SIGNAL} | OF_DELIVERY, {})
    webhook = {"description": "A signal and its delivery.", **body}
    return {**found, "Event": EVENT, "Payload": PAYLOAD, "Webhook": webhook}
