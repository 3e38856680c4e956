"""A message's properties as the embedded transport keeps them: one JSON document beside the body."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from broker.transport import Message, Received


def encode(message: Message) -> str:
    """Return the document that holds everything of *message* but its body."""
    return json.dumps(
        {
            "headers": dict(message.headers),
            "type": message.type,
            "timestamp": None if message.timestamp is None else int(message.timestamp.timestamp()),
            "content_type": message.content_type,
        }
    )


def decode(document: str, body: bytes, *, tag: int, redelivered: bool) -> Received:
    """Return the message that was encoded as *document*, as a consumer gets it."""
    properties = json.loads(document)
    if properties["timestamp"] is not None:
        properties["timestamp"] = datetime.fromtimestamp(properties["timestamp"], UTC)
    return Received(body=body, tag=tag, redelivered=redelivered, **properties)


def routing_keys(message: Message, routing_key: str) -> str:
    """Return, as a JSON array, the keys that *message* is routed by: *routing_key* and those of its CC header."""
    copies = message.headers.get("CC", ())
    return json.dumps([routing_key] if isinstance(copies, str | int) else [routing_key, *copies])
