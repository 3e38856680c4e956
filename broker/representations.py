"""Signals and deliveries as JSON documents: what webhooks receive, the native API answers and the archive keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from broker.deliveries import DeliveryState, delivery_id
from broker.jsontext import encode, read
from broker.signals import Signal
from broker.variables import typed


class Columns(Protocol):
    """A row, or what was read from one: values by the names of their columns."""

    def __getitem__(self, name: str, /) -> Any:
        """Return a column's value."""


def signal_json(signal: Signal, further: Mapping[str, object]) -> bytes:
    """Return *signal* as a JSON object with *further* members; the payload is in it byte for byte as it was sent."""
    document = signal_members(signal, further)
    del document["payload"]
    return encode(document)[:-1] + b',"payload":' + signal.throw.payload + b"}"


def recorded_members(signal: Signal) -> dict[str, object]:
    """Return what the API tells of *signal* and its subscribers need not know."""
    throw = signal.throw
    return {
        "source": throw.source.value,
        "sourceId": throw.source_id,
        "orderingKey": throw.ordering_key,
        "deliverAt": None if throw.deliver_at is None else throw.deliver_at.isoformat(),
        "expiresAt": None if throw.expires_at is None else throw.expires_at.isoformat(),
        "state": signal.state.value,
    }


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


def archive_line(signal: Signal, deliveries: Sequence[tuple[Columns, Sequence[Columns]]]) -> bytes:
    """Return one line of JSON: *signal* as the API shows it, with its deliveries (rows) and their attempts (rows)."""
    document = signal_json(signal, recorded_members(signal))
    # A payload is kept as it was sent, with line breaks perhaps: between JSON's tokens, since strings hold none.
    document = document.replace(b"\n", b" ").replace(b"\r", b" ")
    members = [delivery_members(row, attempts) for row, attempts in deliveries]
    return document[:-1] + b',"deliveries":' + orjson.dumps(members, option=orjson.OPT_UTC_Z) + b"}\n"


def delivery_members(row: Columns, attempts: Sequence[Columns] | None = None) -> dict[str, Any]:
    """Return the members of the delivery in *row*, with its attempts if they are given, else with their number.

    Moments are left as they are.
    """
    return {
        "id": delivery_id(row["signal_id"], row["subscription_id"]),
        "signalId": row["signal_id"],
        "subscriptionId": row["subscription_id"],
        "state": row["state"],
        "attempts": row["attempts"] if attempts is None else [_attempt_members(attempt) for attempt in attempts],
        "dueAt": row["due_at"],
        "reason": None if row["state"] == DeliveryState.PENDING else row["reason"],
        "createdAt": row["created_at"],
        "finishedAt": row["finished_at"],
    }


def _attempt_members(row: Columns) -> dict[str, Any]:
    return {
        "number": row["number"],
        "startedAt": row["started_at"],
        **_outcome_members(row),
        "steps": None
        if row["steps"] is None
        else [{"step": step["step"], **_outcome_members(step)} for step in json.loads(row["steps"])],
    }


def _outcome_members(row: Columns) -> dict[str, Any]:
    return {
        "duration": row["duration"],
        "outcome": row["outcome"],
        "status": row["status"],
        "error": row["error"],
        "response": row["excerpt"],
    }
