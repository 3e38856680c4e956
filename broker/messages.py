"""Messages on the wire: the contract with taps and queue targets.

body       the payload, JSON, as it was sent
properties type = the signal's name, timestamp, content_type, delivery_mode 2, app_id, message_id (per publish)
headers    signal-id, scope, ce-* (CloudEvents attributes: a consumer drops repeats by ce-id, and signals after
           ce-expirytime), traceparent; for a queue target also delivery-id and attempt; and for the recorder: source,
           source-id, token-id, types, reach, business-key, ordering-key, deliver-at
"""

from __future__ import annotations

import json
from datetime import datetime

from broker.deliveries import DueAttempt, parse_delivery_id
from broker.jsontext import write_fast
from broker.signals import Scope, Signal, Source, Throw
from broker.transport import Header, Message, Received
from broker.variables import Types

_FIRST_YEAR = 2000


class Undecodable(ValueError):
    """Raised when a message in one of the product's queues is not one of its messages; it is poison."""


def signal_message(signal: Signal) -> Message:
    """Return the message that carries *signal* through the exchanges."""
    return Message(
        body=signal.throw.payload,
        headers=_signal_headers(signal),
        type=signal.throw.name,
        timestamp=signal.created_at,
    )


def _signal_headers(signal: Signal) -> dict[str, Header]:
    throw = signal.throw
    headers: dict[str, Header] = {
        "signal-id": signal.id,
        "scope": throw.scope.value,
        "source": throw.source.value,
        "ce-specversion": "1.0",
        "ce-id": str(signal.id),
        "ce-source": f"/signal-broker/{throw.source.value}",
        "ce-type": throw.name,
        "ce-time": signal.created_at.isoformat(),
    }
    optional: dict[str, Header | None] = {
        "ce-tenantid": throw.tenant_id,
        "ce-executionid": throw.execution_id,
        "traceparent": throw.traceparent,
        "source-id": throw.source_id,
        "token-id": throw.token_id,
        "types": write_fast(throw.types) if throw.types else None,
        "business-key": throw.business_key,
        "ordering-key": throw.ordering_key,
        "deliver-at": None if throw.deliver_at is None else throw.deliver_at.isoformat(),
        "ce-expirytime": None if throw.expires_at is None else throw.expires_at.isoformat(),
    }
    headers |= {key: value for key, value in optional.items() if value is not None}
    if throw.audience is not None:
        headers["reach"] = throw.audience
    if throw.carbon_copies:
        headers["CC"] = throw.carbon_copies
    return headers


def decode_signal(message: Received) -> Signal:
    """Return the signal that `signal_message` put into *message*.

    Raises:
        Undecodable: It carries no signal.
    """
    headers = message.headers
    try:
        audience = headers.get("reach")
        return Signal(
            id=_integer(headers["signal-id"]),
            created_at=_moment_of(str(headers["ce-time"])),
            throw=Throw(
                name=str(headers["ce-type"]),
                payload=message.body,
                types=_types(str(headers.get("types", "{}"))),
                scope=Scope(str(headers["scope"])),
                tenant_id=_text(headers.get("ce-tenantid")),
                execution_id=_text(headers.get("ce-executionid")),
                audience=None if audience is None else _texts(audience),
                source=Source(str(headers["source"])),
                source_id=_optional_integer(headers.get("source-id")),
                token_id=_optional_integer(headers.get("token-id")),
                business_key=_text(headers.get("business-key")),
                ordering_key=_text(headers.get("ordering-key")),
                deliver_at=_moment(headers.get("deliver-at")),
                expires_at=_moment(headers.get("ce-expirytime")),
                traceparent=_text(headers.get("traceparent")),
            ),
        )
    except Exception as error:
        raise Undecodable(f"not a signal: {error!r}") from error


def _integer(value: Header) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not an integer")
    return value


def _optional_integer(value: Header | None) -> int | None:
    return None if value is None else _integer(value)


def _text(value: Header | None) -> str | None:
    return None if value is None else str(value)


def _texts(value: Header) -> tuple[str, ...]:
    return () if isinstance(value, int) else tuple(map(str, value))


def _moment(value: Header | None) -> datetime | None:
    return None if value is None else _moment_of(str(value))


def _moment_of(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or moment.year < _FIRST_YEAR:
        raise ValueError(f"{text!r} is no moment with a time zone since {_FIRST_YEAR}")
    return moment


def _types(text: str) -> Types:
    types = json.loads(text)
    if not (isinstance(types, dict) and all(isinstance(note, dict) for note in types.values())):
        raise TypeError(f"{text!r} are no types of variables")
    return types


def due_message(due: DueAttempt) -> Message:
    """Return the message that asks for the attempt *due*."""
    return Message(body=b'{"delivery":"%b","attempt":%d}' % (due.delivery_id.encode(), due.attempt))


def decode_due_attempt(message: Received) -> DueAttempt:
    """Return the attempt that `due_message` asked for.

    Raises:
        Undecodable: It asks for no attempt.
    """
    try:
        document = json.loads(message.body)
        signal_id, subscription_id = parse_delivery_id(document["delivery"])
        return DueAttempt(signal_id, subscription_id, int(document["attempt"]))
    except Exception as error:
        raise Undecodable(f"not a due attempt: {error!r}") from error
