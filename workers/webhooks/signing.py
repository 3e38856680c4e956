"""The signatures of a webhook (Standard Webhooks 1.0): ``v1`` with a shared secret, ``v1a`` with a private key."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from datetime import datetime

from broker.secrets import PRIVATE_PREFIX, decode_private_key, decode_secret


def signature_headers(secrets: Sequence[str], *, message_id: str, timestamp: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers that prove to a receiver that *body* is ours, unaltered and fresh.

    Args:
        secrets: ``whsec_...`` texts, each for a ``v1`` signature, and ``whsk_...`` texts, each for a ``v1a`` one.
            Several of a kind during a rotation: a receiver accepts any that it knows.
        message_id: The delivery's id, the same on every attempt.
        timestamp: When this attempt is made; receivers refuse old ones.
        body: The request body, byte for byte as it is sent.

    Raises:
        SecretUnreadable: One of *secrets* is neither a webhook secret nor a private key.
    """
    seconds = str(int(timestamp.timestamp()))
    content = f"{message_id}.{seconds}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(_sign(secret, content) for secret in secrets),
    }


def _sign(secret: str, content: bytes) -> str:
    if secret.startswith(PRIVATE_PREFIX):
        version, signature = "v1a", decode_private_key(secret).sign(content)
    else:
        version, signature = "v1", hmac.digest(decode_secret(secret), content, "sha256")
    return f"{version},{base64.b64encode(signature).decode()}"
