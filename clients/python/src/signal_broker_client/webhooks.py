"""Webhooks: whether a request is one, by Standard Webhooks' signatures: v1 with a secret, v1a with a public key."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, cast

from .calls import Variable
from .errors import InvalidWebhook


class Webhook(TypedDict):
    """What a webhook says. Drop repeats by `deliveryId`, which is the same on every attempt."""

    id: int
    name: str
    scope: str
    tenantId: str | None
    executionId: str | None
    createdAt: str
    businessKey: str | None
    payload: Any
    variables: dict[str, Variable]
    deliveryId: str
    attempt: int
    subscriptionId: int


class _Key(NamedTuple):
    """What signatures are verified with: their version, and whether one is that of a content."""

    version: str
    has_signed: Callable[[bytes, bytes], bool]


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance: float = 300,
    now: float | None = None,
) -> Webhook:
    """Return what a webhook says, if its signature is valid and it is at most *tolerance* seconds old.

    Args:
        body: The request's body, byte for byte.
        headers: Its headers; their case does not matter.
        secret: The subscription's secret, ``whsec_...``, or a public key of the server, ``whpk_...``; or several that
            are valid, of both kinds.
        tolerance: How many seconds the clocks may be apart, in either direction.
        now: The time in seconds since 1970, if it is not the present.

    Raises:
        InvalidWebhook: It is not, or its body is no JSON object.
        ValueError: *secret* is neither a webhook secret nor a public key, or *tolerance* or *now* is no number.
        TypeError: *body* is not bytes, or a header's value is no text.
        ImportError: It is a public key, and there is no package cryptography.
    """
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"body must be the request's bytes, not {type(body).__name__}")
    if math.isnan(tolerance) or (now is not None and math.isnan(now)):
        raise ValueError("tolerance and now must be numbers of seconds, not NaN")
    body = bytes(body)
    keys = [_read_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    lower = {name.lower(): value for name, value in headers.items()}
    id_, timestamp, signatures = (_header(lower, f"webhook-{part}") for part in ("id", "timestamp", "signature"))
    if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 15:
        raise InvalidWebhook("webhook-timestamp is not a number of seconds since 1970")
    apart = (time.time() if now is None else now) - int(timestamp)
    if abs(apart) > tolerance:
        raise InvalidWebhook(f"webhook-timestamp is {abs(apart):.0f} s {'ago' if apart > 0 else 'ahead'}")
    signed = f"{id_}.{timestamp}.".encode() + body
    given = [part.partition(",") for part in signatures.split(" ")]
    if not any(
        key.version == version and key.has_signed(signed, signature)
        for version, _, text in given
        if (signature := _decode(text))
        for key in keys
    ):
        raise InvalidWebhook("webhook-signature has no signature by this secret or public key")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidWebhook("the body is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidWebhook("the body is not a JSON object")
    return cast(Webhook, document)


def _header(headers: Mapping[str, str], name: str) -> str:
    value: object = headers.get(name)
    if not value:
        raise InvalidWebhook(f"there is no header {name}")
    if not isinstance(value, str):
        raise TypeError(f"headers: the value of {name} must be a str, not {type(value).__name__}")
    return value


def _read_key(text: str) -> _Key:
    if text.startswith("whpk_"):
        return _public_key(text)
    secret = _decode(text.removeprefix("whsec_"))
    if not secret:
        raise ValueError("secret must be a webhook secret, whsec_ and base64, or a public key, whpk_ and base64")
    return _Key("v1", lambda content, given: hmac.compare_digest(hmac.digest(secret, content, "sha256"), given))


def _public_key(text: str) -> _Key:
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  (who has secrets does not need it)
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError:
        raise ImportError(
            "a public key (v1a) takes cryptography: pip install signal-broker-client[v1a]", name="cryptography"
        ) from None
    try:
        key = Ed25519PublicKey.from_public_bytes(_decode(text.removeprefix("whpk_")) or b"")
    except ValueError:
        raise ValueError("a public key must be whpk_ and 32 bytes in base64") from None

    def has_signed(content: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, content)
        except InvalidSignature:
            return False
        return True

    return _Key("v1a", has_signed)


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
