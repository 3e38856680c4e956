"""Idempotency keys: the same key with the same request is one throw."""

from __future__ import annotations

import hashlib

from broker.access import Principal
from broker.errors import InvalidField
from broker.store.signals.signals import IdempotencyKey

MAX_KEY = 255


def make_key(key: str, principal: Principal, request: bytes) -> IdempotencyKey:
    """Return *key* as the promise of *principal* that everything sent with it is the same as *request*.

    Raises:
        InvalidField: It is empty, too long, or not printable ASCII.
    """
    if not (1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise InvalidField("Idempotency-Key", f"must be 1 to {MAX_KEY} printable ASCII characters")
    return IdempotencyKey(principal=principal.key, key=key, body_hash=hashlib.sha256(request).digest())
