"""Signals and deliveries as JSON documents: what webhooks receive, the native API answers and the archive keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from broker.deliveries import Attempt, Delivery, DeliveryState, Exchange, Result
from broker.jsontext import encode, read, write_fast
from broker.moments import show_moment
from broker.signals import Signal, Throw
from broker.variables import Variable, typed


class _Unreadable(str):
    """What stands where a payload should, and is no JSON: earlier versions recorded foreign messages as well."""

    __slots__ = ()


def signal_json(signal: Signal, further: Mapping[str, object]) -> bytes:
    """Return *signal* as a JSON object with *further* members; the payload is in it byte for byte as it was sent."""
    document = signal_members(signal, further)
    payload = document.pop("payload")
    text = encode(payload) if isinstance(payload, _Unreadable) else signal.throw.payload
    return write_fast(document).encode()[:-1] + b',"payload":' + text + b"}"


def recorded_members(signal: Signal) -> dict[str, object]:
    """Return what the API tells of *signal* and its subscribers need not know."""
    throw = signal.throw
    return {
        "source": throw.source.value,
        "sourceId": throw.source_id,
        "orderingKey": throw.ordering_key,
        "deliverAt": _shown(throw.deliver_at),
        "expiresAt": _shown(throw.expires_at),
        "hops": throw.hops,
        "state": signal.state.value,
    }


def signal_members(signal: Signal, further: Mapping[str, object]) -> dict[str, object]:
    """Return the members of *signal*, and *further* ones, as JSON values."""
    throw = signal.throw
    payload, variables = _views(throw)
    return {
        "id": signal.id,
        "name": throw.name,
        "scope": throw.scope.value,
        "tenantId": throw.tenant_id,
        "executionId": throw.execution_id,
        "createdAt": show_moment(signal.created_at),
        "businessKey": throw.business_key,
        "variables": variables,
        "payload": payload,
        **further,
    }


def _views(throw: Throw) -> tuple[Any, dict[str, Variable]]:
    """Return the payload of *throw* and its variables; what is no JSON is a string without variables."""
    text = throw.payload.decode()
    try:
        payload = read(text)
        return payload, typed(payload, throw.types, throw.payload)
    except (ValueError, LookupError, TypeError):
        return _Unreadable(text), {}


def archive_line(signal: Signal, deliveries: Sequence[Delivery]) -> bytes:
    """Return one line of JSON: *signal* as the API shows it, with its deliveries and their attempts."""
    document = signal_json(signal, recorded_members(signal))
    # A payload is kept as it was sent, with line breaks perhaps: between JSON's tokens, since strings hold none.
    document = document.replace(b"\n", b" ").replace(b"\r", b" ")
    members = [delivery_members(delivery) for delivery in deliveries]
    return (
        document[:-1]
        + b',"deliveries":'
        + orjson.dumps(members, default=show_moment, option=orjson.OPT_PASSTHROUGH_DATETIME)
        + b"}\n"
    )


def delivery_members(delivery: Delivery) -> dict[str, Any]:
    """Return the members of *delivery*, with moments as they are; attempts are null if they were not asked for."""
    attempts = delivery.attempts
    return {
        "id": delivery.id,
        "signalId": delivery.signal_id,
        "subscriptionId": delivery.subscription_id,
        "state": delivery.state.value,
        "attemptCount": delivery.attempt_count,
        "attempts": None if attempts is None else [_attempt_members(attempt) for attempt in attempts],
        "dueAt": delivery.due_at,
        "reason": delivery.reason if delivery.state is not DeliveryState.PENDING or delivery.is_leased else None,
        "createdAt": delivery.created_at,
        "finishedAt": delivery.finished_at,
    }


def _attempt_members(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "startedAt": attempt.started_at,
        **_result_members(attempt.result, attempt.duration),
        "worker": attempt.worker,
        "steps": [
            {"step": step.number, "startedAt": step.started_at, **_result_members(step.result, step.duration)}
            for step in attempt.steps
        ]
        or None,
    }


def _result_members(result: Result, duration: timedelta | None) -> dict[str, Any]:
    return {
        "duration": None if duration is None else duration.total_seconds(),
        "outcome": result.outcome.value,
        "status": result.status,
        "error": result.error,
        "response": result.excerpt,
        **_exchange_members(result.exchange),
    }


def _exchange_members(exchange: Exchange | None) -> dict[str, Any]:
    if exchange is None:
        return dict.fromkeys(("request", "answer", "connection", "phases"))
    return {
        "request": {"url": exchange.url, "headers": dict(exchange.request_headers)},
        "answer": {"location": exchange.location, "retryAfter": exchange.retry_after},
        "connection": {
            "address": exchange.address,
            "tls": exchange.tls,
            "reused": exchange.reused,
            "resent": exchange.resent,
        },
        "phases": dict(exchange.phases),
    }


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else show_moment(moment)
