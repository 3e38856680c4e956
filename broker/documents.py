"""Signals as JSON documents: what webhooks receive and what the native API answers."""

from __future__ import annotations

from collections.abc import Mapping

from broker.jsontext import encode, read
from broker.signals import Signal
from broker.variables import typed


def signal_json(signal: Signal, further: Mapping[str, object]) -> bytes:
    """Return *signal* as a JSON object with *further* members; the payload is in it byte for byte as it was sent."""
    throw = signal.throw
    document = {
        "id": signal.id,
        "name": throw.name,
        "scope": throw.scope.value,
        "tenantId": throw.tenant_id,
        "executionId": throw.execution_id,
        "createdAt": signal.created_at.isoformat(),
        "businessKey": throw.business_key,
        "variables": typed(read(throw.payload.decode()), throw.types),
        **further,
    }
    return encode(document)[:-1] + b',"payload":' + throw.payload + b"}"
