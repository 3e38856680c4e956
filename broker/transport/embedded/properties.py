"""A message's properties as the embedded transport stores them: one JSON document beside the body."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from broker.transport import Message, Received


def write_properties(message: Message) -> str:
    """Return the JSON document that holds everything of *message* but its body."""
    return json.dumps(
        {
            "headers": dict(message.headers),
            "type": message.type,
            "timestamp": None if message.timestamp is None else int(message.timestamp.timestamp()),
            "content_type": message.content_type,
        }
    )


def read_message(document: str, body: bytes, *, tag: int, redelivered: bool) -> Received:
    """Return the message with the properties in *document* (see `write_properties`), as a consumer gets it."""
    properties = json.loads(document)
    if properties["timestamp"] is not None:
        properties["timestamp"] = datetime.fromtimestamp(properties["timestamp"], UTC)
    return Received(body=body, tag=tag, redelivered=redelivered, **properties)


def routing_keys(message: Message, routing_key: str) -> str:
    """Return, as a JSON array, the routing keys of *message*: *routing_key* and those of its CC header."""
    copies = message.headers.get("CC", ())
    return json.dumps([routing_key] if isinstance(copies, str | int) else [routing_key, *copies])
