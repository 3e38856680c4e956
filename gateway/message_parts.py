"""What the messages to subscribers consist of, for the AsyncAPI description: headers, properties and bodies."""

from __future__ import annotations

from typing import Any

from broker.cloudevents import AMQP_PREFIX, JSON, STRUCTURED
from broker.hops import BAGGAGE, HEADER, LIMIT, MEMBER
from broker.tracing.contexts import PARENT, STATE

_HOPS = f"The number of deliveries that led here, this one included: the `{HEADER}` of what is thrown because of it."
_TRACE = {
    PARENT: {
        "type": "string",
        "description": "The W3C trace context: of the publishing or the attempt, or else the caller's, if any.",
        "examples": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    },
    STATE: {"type": "string", "description": "What tracing systems have noted of it.", "examples": ["vendor=1"]},
}
_BAGGAGE = {
    BAGGAGE: {
        "type": "string",
        "description": f"The same as `{HEADER}`, as W3C baggage.",
        "examples": [f"{MEMBER}=1"],
    }
}
_ATTRIBUTES: dict[str, Any] = {
    "specversion": {"const": "1.0", "description": "As in CloudEvents.", "examples": ["1.0"]},
    "id": {
        "type": "string",
        "pattern": "^[0-9]+$",
        "description": "The signal's id. Drop repeats by it.",
        "examples": ["4711"],
    },
    "source": {
        "type": "string",
        "pattern": "^/signal-broker/",
        "description": "The dialect that it was thrown in.",
        "examples": ["/signal-broker/native"],
    },
    "type": {"type": "string", "description": "The signal's name.", "examples": ["policy.changed"]},
    "time": {
        "type": "string",
        "format": "date-time",
        "description": "When it was accepted.",
        "examples": ["2026-11-22T10:00:00.123Z"],
    },
}
_ALL_MAY_HAVE: dict[str, Any] = {
    "expirytime": {
        "type": "string",
        "format": "date-time",
        "description": "When it becomes useless, if it expires.",
        "examples": ["2026-12-22T10:00:00.000Z"],
    },
    "tenantid": {"type": "string", "description": "The tenant that it is for, if any.", "examples": ["acme"]},
    "executionid": {"type": "string", "description": "The execution that it is for, if any.", "examples": ["w-7"]},
}
_EVENTS_MAY_HAVE: dict[str, Any] = {
    **_ALL_MAY_HAVE,
    "partitionkey": {"type": "string", "description": "Its ordering key, if it has one.", "examples": ["policy-42"]},
}
_DELIVERY_ID = {
    "type": "string",
    "description": "The delivery's id, the same on every attempt. Drop repeats by it.",
    "examples": ["4711-3"],
}
_ATTEMPT = {"type": "integer", "minimum": 1, "description": "The attempt's number, from 1.", "examples": [1]}
_DATA = {"description": "The payload, byte for byte as it was thrown.", "examples": [{"policy": 42}]}


def _named(prefix: str, attributes: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": described for name, described in attributes.items()}


def _content_type(kind: str) -> dict[str, Any]:
    return {"const": kind, "description": "The body's type.", "examples": [kind]}


def object_of(required: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with these members."""
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


TAP_HEADERS = object_of(
    {
        "signal-id": {
            "type": "integer",
            "minimum": 1,
            "description": "The signal's id; a later signal has a higher one.",
            "examples": [4711],
        },
        "scope": {
            "enum": ["broadcast", "tenant", "untenanted", "execution"],
            "description": "For whom it is.",
            "examples": ["tenant"],
        },
        **_named("ce-", _ATTRIBUTES),
        MEMBER: {"type": "integer", "minimum": 1, "maximum": LIMIT, "description": _HOPS, "examples": [1]},
        **_BAGGAGE,
    },
    {**_named("ce-", _ALL_MAY_HAVE), **_TRACE},
)
"""The headers of a message of RabbitMQ, as a tap gets it."""


def queue_headers(*, is_binary: bool = False) -> dict[str, Any]:
    """Return the headers of what a queue target gets; as a binary event it has the event's attributes besides."""
    headers: dict[str, Any] = TAP_HEADERS["properties"]
    required = {name: headers[name] for name in TAP_HEADERS["required"]}
    optional = {name: described for name, described in headers.items() if name not in required}
    required |= {"delivery-id": _DELIVERY_ID, "attempt": _ATTEMPT}
    if is_binary:
        required |= _named(AMQP_PREFIX, _ATTRIBUTES)
        optional |= _named(AMQP_PREFIX, _EVENTS_MAY_HAVE)
    return object_of(required, optional)


def properties(content_type: str = JSON) -> dict[str, Any]:
    """Return the properties of a message of RabbitMQ whose body has this *content_type*."""
    return object_of(
        {
            "type": _ATTRIBUTES["type"],
            "timestamp": {
                "type": "integer",
                "description": "When it was accepted, in seconds.",
                "examples": [1_795_341_600],
            },
            "content_type": _content_type(content_type),
            "delivery_mode": {"const": 2, "description": "Persistent.", "examples": [2]},
            "app_id": {"const": "signal-broker", "description": "Who publishes.", "examples": ["signal-broker"]},
            "message_id": {
                "type": "string",
                "description": "Unique per publish: not the signal's id, so it cannot identify repeats.",
                "examples": ["9f2c.1"],
            },
        },
        {},
    )


def webhook_headers(content_type: str = JSON, *, is_binary: bool = False) -> dict[str, Any]:
    """Return the headers of a webhook whose body has this *content_type*; of a binary event the attributes, too."""
    required = {
        "webhook-id": {
            "type": "string",
            "description": "The delivery's id (of a step, followed by its number), the same on every attempt.",
            "examples": ["4711-3"],
        },
        "webhook-timestamp": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "When this attempt was made, in seconds since 1970.",
            "examples": ["1795341600"],
        },
        "webhook-signature": {
            "type": "string",
            "description": "Signatures of id, timestamp and body, separated by spaces.",
            "examples": ["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="],
        },
        "content-type": _content_type(content_type),
        HEADER.lower(): {"type": "string", "pattern": "^[0-9]+$", "description": _HOPS, "examples": ["1"]},
        **_BAGGAGE,
    }
    optional = {
        "webhook-request-origin": {
            "type": "string",
            "description": "The `requestOrigin` of the target, if it has one: who the receiver has allowed to send.",
            "examples": ["broker.example.com"],
        },
        **_TRACE,
    }
    if is_binary:  # what a header cannot hold is percent-encoded
        required |= _named("ce-", _ATTRIBUTES)
        optional |= _named("ce-", _EVENTS_MAY_HAVE)
    return object_of(required, optional)


PAYLOAD = {"description": "Any JSON value.", "examples": [{"policy": 42}]}
EVENT = {
    "description": f"A signal as an event of CloudEvents 1.0 in JSON, `{STRUCTURED}`.",
    **object_of({**_ATTRIBUTES, "datacontenttype": _content_type(JSON), "data": _DATA}, _EVENTS_MAY_HAVE),
}
OF_DELIVERY: dict[str, Any] = {
    "deliveryId": {"type": "string", "description": "The delivery's id.", "examples": ["4711-3"]},
    "attempt": _ATTEMPT,
    "subscriptionId": {"type": "integer", "description": "The subscription's id.", "examples": [3]},
}
"""What the standard body of a webhook tells besides the signal."""
