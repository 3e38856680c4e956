"""Messages on the wire: the contract with taps and queue targets.

body       the payload, JSON, as it was sent
properties type = the signal's name, timestamp, content_type, delivery_mode 2, app_id, message_id (per publish)
headers    signal-id, scope, ce-* (CloudEvents attributes: a consumer drops repeats by ce-id, and signals after
           ce-expirytime), traceparent, tracestate, signal-broker-hops, baggage; for a queue target also delivery-id and
           attempt; and for the recorder: source, source-id, token-id, types, reach, business-key, ordering-key,
           deliver-at
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from broker.deliveries import DueAttempt, parse_delivery_id
from broker.hops import BAGGAGE, LIMIT, MEMBER
from broker.integers import MAX_ID
from broker.jsontext import check, read, write_fast
from broker.moments import show_moment
from broker.names import check_id
from broker.signals import Scope, Signal, Source, Throw
from broker.topology import MOST_SHARDS
from broker.tracing.contexts import PARENT, STATE, TraceContext
from broker.transport import Header, Message, Received
from broker.variables import Types, Variable, typed

_FIRST_YEAR = 2000
_MAX_ATTEMPT = (1 << 31) - 1
_PROOF = "proof"
_PROOF_SHARD = "proof-shard"
_PROOF_SHARDS = "proof-shards"
_CONTENT_TYPE = "application/json"
_RECIPIENTS = {
    Scope.BROADCAST: (False, False),
    Scope.UNTENANTED: (False, False),
    Scope.TENANT: (True, False),
    Scope.EXECUTION: (False, True),
}
"""Whether a signal of each scope names a tenant, and an execution."""


class Undecodable(ValueError):
    """Raised when a message in one of the product's queues is not one of its messages; it is poison."""


def signal_message(signal: Signal) -> Message:
    """Return the message that carries *signal* through the exchanges."""
    return Message(
        body=signal.throw.payload,
        headers=_signal_headers(signal),
        type=signal.throw.name,
        timestamp=signal.created_at,
        shard_by=signal.id if signal.throw.ordering_key is None else signal.throw.ordering_key,
    )


@dataclass(frozen=True, slots=True)
class Proof:
    """A message behind all others in a shard of the record queue.

    Args:
        number: That of the proof, of which every shard gets messages.
        shard: The number of the shard.
        shards: How many shards there are.
    """

    number: int
    shard: int = 0
    shards: int = 1


def proof_message(signal: Signal, proof: Proof) -> Message:
    """Return a message that repeats a recorded *signal*: who gets it, got all that was before it in its shard."""
    message = signal_message(signal)
    headers = {_PROOF: proof.number, _PROOF_SHARD: proof.shard, _PROOF_SHARDS: proof.shards}
    return replace(message, headers={**message.headers, **headers}, shard_by=None)


def read_proof(message: Received) -> Proof | None:
    """Return the proof that *message* is; None if it is none."""
    number = _integer(message.headers.get(_PROOF))
    shard = _integer(message.headers.get(_PROOF_SHARD, 0))
    shards = _integer(message.headers.get(_PROOF_SHARDS, 1))
    is_proof = 0 < number <= MAX_ID and 0 <= shard < shards <= MOST_SHARDS
    return Proof(number, shard, shards) if is_proof else None


def _integer(value: Header | None) -> int:
    return value if isinstance(value, int) else -1


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
        "ce-time": show_moment(signal.created_at),
        MEMBER: throw.hops + 1,
        BAGGAGE: f"{MEMBER}={throw.hops + 1}",
    }
    optional: dict[str, Header | None] = {
        "ce-tenantid": throw.tenant_id,
        "ce-executionid": throw.execution_id,
        "source-id": throw.source_id,
        "token-id": throw.token_id,
        "types": write_fast(throw.types) if throw.types else None,
        "business-key": throw.business_key,
        "ordering-key": throw.ordering_key,
        "deliver-at": None if throw.deliver_at is None else show_moment(throw.deliver_at),
        "ce-expirytime": None if throw.expires_at is None else show_moment(throw.expires_at),
    }
    headers |= {key: value for key, value in optional.items() if value is not None}
    if throw.trace is not None:
        headers |= throw.trace.headers
    if throw.audience is not None:
        headers["reach"] = throw.audience
    if throw.carbon_copies:
        headers["CC"] = throw.carbon_copies
    return headers


def decode_signal(message: Received) -> Signal:
    """Return the signal that `signal_message` put into *message*.

    All of it is checked: what a gateway cannot have written must not be recorded. Whether the id was given out is for
    the database to say.

    Raises:
        Undecodable: It carries no signal.
    """
    headers = message.headers
    try:
        signal = Signal(
            id=_id(headers["signal-id"]),
            created_at=_recent(_moment_of(headers["ce-time"])),
            throw=Throw(
                name=_text_of(headers["ce-type"]),
                payload=_payload(message),
                types=_types(headers.get("types"), message.body),
                scope=Scope(_text_of(headers["scope"])),
                tenant_id=_named("ce-tenantid", headers.get("ce-tenantid")),
                execution_id=_named("ce-executionid", headers.get("ce-executionid")),
                audience=_audience(headers.get("reach")),
                source=Source(_text_of(headers["source"])),
                source_id=_optional_id(headers.get("source-id")),
                token_id=_optional_id(headers.get("token-id")),
                business_key=_text(headers.get("business-key")),
                ordering_key=_text(headers.get("ordering-key")),
                deliver_at=_moment(headers.get("deliver-at")),
                expires_at=_moment(headers.get("ce-expirytime")),
                trace=_trace(headers.get(PARENT), headers.get(STATE)),
                hops=_hops(headers.get(MEMBER)),
            ),
        )
        _check(signal, message)
    except Exception as error:
        raise Undecodable(f"not a signal: {error!r}") from error
    return signal


def claimed_id(message: Received) -> int | None:
    """Return the id of the signal that *message* may carry, whether or not it can be decoded; None: it carries none."""
    value = message.headers.get("signal-id")
    return value if isinstance(value, int) and 0 < value <= MAX_ID else None


def _check(signal: Signal, message: Received) -> None:
    """Check what the parts of a signal say of each other."""
    throw = signal.throw
    if _RECIPIENTS[throw.scope] != (throw.tenant_id is not None, throw.execution_id is not None):
        raise ValueError(f"the scope {throw.scope.value} does not fit its tenant and its execution")
    if message.type != throw.name or message.headers.get("ce-id") != str(signal.id):
        raise ValueError("type or ce-id is another signal's")
    if message.timestamp is None or int(message.timestamp.timestamp()) != int(signal.created_at.timestamp()):
        raise ValueError("timestamp and ce-time differ")
    signal.check_moments()


def _payload(message: Received) -> bytes:
    if message.content_type != _CONTENT_TYPE:
        raise ValueError(f"{message.content_type!r} is no payload's type")
    check(message.body)
    return message.body


def _id(value: Header) -> int:
    if not isinstance(value, int) or not 0 < value <= MAX_ID:
        raise TypeError(f"{value!r} is no id")
    return value


def _optional_id(value: Header | None) -> int | None:
    return None if value is None else _id(value)


def _text_of(value: Header) -> str:
    """Return a text that PostgreSQL can store."""
    if not isinstance(value, str) or "\x00" in value:
        raise TypeError(f"{value!r} is no text")
    return value


def _text(value: Header | None) -> str | None:
    return None if value is None else _text_of(value)


def _hops(value: Header | None) -> int:
    """Return how many deliveries led to a signal that announces *value* to its receivers."""
    if value is None:  # by a version that did not count them
        return 0
    if type(value) is not int or not 0 < value <= LIMIT:
        raise TypeError(f"{value!r} is no number of deliveries")
    return value - 1


def _trace(parent: Header | None, state: Header | None) -> TraceContext | None:
    return None if parent is None else TraceContext(_text_of(parent), _text(state))


def _named(header: str, value: Header | None) -> str | None:
    return None if value is None else check_id(_text_of(value), header)


def _audience(value: Header | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str | int):
        raise TypeError(f"{value!r} is no list of tenants")
    return tuple(map(_text_of, value))


def _moment(value: Header | None) -> datetime | None:
    return None if value is None else _moment_of(value)


def _moment_of(value: Header) -> datetime:
    moment = datetime.fromisoformat(_text_of(value))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} is no moment with a time zone")
    return moment


def _recent(moment: datetime) -> datetime:
    if moment.year < _FIRST_YEAR:
        raise ValueError(f"no signal was accepted in {moment.year}")
    return moment


def _types(value: Header | None, payload: bytes) -> Types:
    """Return the types of the variables in *payload*, of which `typed` can make its view."""
    if value is None:
        return Types()
    types = read(_text_of(value))
    if not (isinstance(types, dict) and all(isinstance(note, dict) for note in types.values())):
        raise TypeError(f"{value!r} are no types of variables")
    if types:
        _check_view(types, typed(read(payload.decode()), types, payload))
    return types


def _check_view(types: Types, view: dict[str, Variable]) -> None:
    for name in types:
        variable = view[name]
        if not (isinstance(variable["type"], str) and isinstance(variable["valueInfo"], dict)):
            raise TypeError(f"{variable!r} is no typed variable")


def due_message(due: DueAttempt) -> Message:
    """Return the message that asks for the attempt *due*."""
    at = b"" if due.at is None else b',"at":%.6f' % due.at.timestamp()
    body = b'{"delivery":"%b","attempt":%d%b}' % (due.delivery_id.encode(), due.attempt, at)
    return Message(body=body, shard_by=due.signal_id + due.subscription_id)


def decode_due_attempt(message: Received) -> DueAttempt:
    """Return the attempt that `due_message` asked for.

    Raises:
        Undecodable: It asks for no attempt.
    """
    try:
        document = json.loads(message.body)
        signal_id, subscription_id = parse_delivery_id(document["delivery"])
        at = document.get("at")
        return DueAttempt(
            signal_id,
            subscription_id,
            _attempt(document["attempt"]),
            at=None if at is None else datetime.fromtimestamp(at, UTC),
        )
    except Exception as error:
        raise Undecodable(f"not a due attempt: {error!r}") from error


def _attempt(value: object) -> int:
    if type(value) is not int or not 0 < value <= _MAX_ATTEMPT:
        raise TypeError(f"{value!r} is no number of an attempt")
    return value
