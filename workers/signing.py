"""The signature of a webhook (Standard Webhooks 1.0, symmetric scheme ``v1``)."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from datetime import datetime

from broker.secrets import decode_secret


def signature_headers(secrets: Sequence[str], *, message_id: str, timestamp: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers by which a receiver knows that *body* is ours, unaltered and fresh.

    Args:
        secrets: ``whsec_...`` texts. Several during a rotation: a receiver that knows any of them is satisfied.
        message_id: The delivery's id, the same on every attempt.
        timestamp: When this attempt is made; receivers refuse old ones.
        body: The request body, byte for byte as it is sent.

    Raises:
        SecretUnreadable: One of *secrets* is not a webhook secret.
    """
    seconds = str(int(timestamp.timestamp()))
    content = f"{message_id}.{seconds}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{_sign(decode_secret(secret), content)}" for secret in secrets),
    }


def _sign(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.digest(key, content, "sha256")).decode()
