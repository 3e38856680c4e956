"""Signals as JSON documents: what webhooks receive and what the native API answers."""

from __future__ import annotations

from collections.abc import Mapping

from broker.jsontext import encode, read
from broker.signals import Signal
from broker.variables import typed


def signal_json(signal: Signal, further: Mapping[str, object]) -> bytes:
    """Return *signal* as a JSON object with *further* members; the payload is in it byte for byte as it was sent."""
    document = signal_members(signal, further)
    del document["payload"]
    return encode(document)[:-1] + b',"payload":' + signal.throw.payload + b"}"


def signal_members(signal: Signal, further: Mapping[str, object]) -> dict[str, object]:
    """Return the members of *signal*, and *further* ones, as JSON values."""
    throw = signal.throw
    payload = read(throw.payload.decode())
    return {
        "id": signal.id,
        "name": throw.name,
        "scope": throw.scope.value,
        "tenantId": throw.tenant_id,
        "executionId": throw.execution_id,
        "createdAt": signal.created_at.isoformat(),
        "businessKey": throw.business_key,
        "variables": typed(payload, throw.types),
        "payload": payload,
        **further,
    }
