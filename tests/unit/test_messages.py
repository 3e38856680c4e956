from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from broker.deliveries import DueAttempt
from broker.jsontext import read
from broker.messages import Undecodable, decode_due_attempt, decode_signal, due_message, signal_message
from broker.signals import Scope, Signal, Source, Throw
from broker.tracing import TraceContext
from broker.transport import Received

MOMENT = datetime(2026, 11, 22, 10, 0, 0, 123000, tzinfo=UTC)


def received(message):
    return Received(
        body=message.body,
        headers=message.headers,
        type=message.type,
        timestamp=message.timestamp,
        content_type=message.content_type,
        tag=1,
        redelivered=False,
    )


@pytest.mark.parametrize(
    "throw",
    [
        Throw(name="sig"),
        Throw(name="sig", payload=b'{"a": 1.10}', types={"a": {"type": "Double"}}, business_key="order-1"),
        Throw(name="sig", scope=Scope.TENANT, tenant_id="é", source=Source.CAMUNDA, token_id=3),
        Throw(
            name="sig",
            scope=Scope.EXECUTION,
            execution_id="e",
            trace=TraceContext("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "a=1,b=2"),
        ),
        Throw(name="sig", audience=("t1", "t2")),
        Throw(name="sig", audience=()),
        Throw(name="ep", source=Source.SIGNAL_ENDPOINT, source_id=5, token_id=6),
        Throw(name="sig", ordering_key="order é", deliver_at=MOMENT, expires_at=MOMENT + timedelta(milliseconds=1)),
        Throw(name="sig", deliver_at=datetime.min.replace(tzinfo=UTC)),
        Throw(name="sig", deliver_at=datetime(1999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
    ],
)
def test_a_signal_survives_its_message(throw):
    signal = Signal(id=42, created_at=MOMENT, throw=throw)
    assert decode_signal(received(signal_message(signal))) == signal


@pytest.mark.parametrize(
    "header",
    [
        {"types": "[1]"},
        {"types": "null"},
        {"types": '{"a": "Double"}'},
        {"types": '{"a": {"type": 1}}'},
        {"types": '{"a": {"type": "Json", "style": "fancy"}}'},
        {"types": '{"a": {"type": "Object", "valueInfo": {"x": NaN}}}'},
        {"types": '{"other": {"type": "Double"}}'},
        {"ce-time": "0001-01-01T00:00:00+00:00"},
        {"ce-time": "2026-11-22T10:00:00"},
        {"ce-time": "2026-11-22T11:00:00+00:00"},
        {"deliver-at": "2026-11-22T10:00:00"},
        {"deliver-at": "9999-11-22T10:00:00+00:00"},
        {"ce-expirytime": "2026-11-22T09:00:00+00:00"},
        {"signal-id": "42"},
        {"signal-id": 0, "ce-id": "0"},
        {"signal-id": -42, "ce-id": "-42"},
        {"signal-id": 1 << 63, "ce-id": str(1 << 63)},
        {"ce-id": "43"},
        {"ce-type": "other"},
        {"ce-type": 42},
        {"scope": "tenant"},
        {"scope": "execution"},
        {"scope": "everybody"},
        {"ce-tenantid": "acme"},
        {"ce-executionid": "e"},
        {"scope": "tenant", "ce-tenantid": "a\x00b"},
        {"scope": "tenant", "ce-tenantid": "a" * 300},
        {"reach": "acme"},
        {"reach": ["a\x00b"]},
        {"source": "elsewhere"},
        {"source-id": 0},
        {"token-id": "7"},
        {"business-key": "a\x00b"},
        {"business-key": 7},
        {"ordering-key": "a\nb"},
        {"traceparent": ["00"]},
        {"signal-broker-hops": 0},
        {"signal-broker-hops": 17},
        {"signal-broker-hops": "1"},
        {"signal-broker-hops": True},
    ],
    ids=str,
)
def test_a_message_with_a_header_that_no_signal_has_is_undecodable(header):
    message = signal_message(Signal(id=42, created_at=MOMENT, throw=Throw(name="sig", payload=b'{"a": 1}')))
    decode_signal(received(message))
    with pytest.raises(Undecodable):
        decode_signal(received(replace(message, headers={**message.headers, **header})))


@pytest.mark.parametrize(
    "part",
    [
        {"body": b""},
        {"body": b"hello"},
        {"body": b'{"a": 1} x'},
        {"body": b'{"a": NaN}'},
        {"body": b'{"a": "\xff"}'},
        {"body": b"[" * 251 + b"]" * 251},
        {"body": b"\xef\xbb\xbf{}"},
        {"content_type": "text/plain"},
        {"type": "other"},
        {"type": None},
        {"timestamp": None},
        {"timestamp": MOMENT + timedelta(hours=1)},
    ],
    ids=lambda part: str(part)[:40],
)
def test_a_message_with_a_part_that_no_signal_has_is_undecodable(part):
    message = signal_message(Signal(id=42, created_at=MOMENT, throw=Throw(name="sig")))
    with pytest.raises(Undecodable):
        decode_signal(received(replace(message, **part)))


@pytest.mark.parametrize(
    "payload",
    [b'"\\ud800"', b" [1e999] ", b"[" * 250 + b"]" * 250, b"null", b'{"a": "' + b"[{" * 200 + b'"}', b"9" * 400],
)
def test_every_payload_that_a_gateway_takes_is_decodable(payload):
    signal = Signal(id=42, created_at=MOMENT, throw=Throw(name="sig", payload=payload))
    read(payload.decode())
    assert decode_signal(received(signal_message(signal))) == signal


def test_the_message_is_the_contract_that_taps_rely_on():
    message = signal_message(
        Signal(
            id=42, created_at=MOMENT, throw=Throw(name="a.b", scope=Scope.TENANT, tenant_id="t", payload=b'{"x": 1}')
        )
    )
    assert (message.body, message.type, message.content_type) == (b'{"x": 1}', "a.b", "application/json")
    assert message.timestamp == MOMENT
    assert message.headers == {
        "signal-id": 42,
        "scope": "tenant",
        "source": "native",
        "ce-specversion": "1.0",
        "ce-id": "42",
        "ce-source": "/signal-broker/native",
        "ce-type": "a.b",
        "ce-time": "2026-11-22T10:00:00.123Z",
        "signal-broker-hops": 1,
        "baggage": "signal-broker-hops=1",
        "ce-tenantid": "t",
    }


def test_a_signal_keeps_its_hops_and_has_none_in_a_message_of_an_earlier_version():
    message = signal_message(Signal(id=1, created_at=MOMENT, throw=Throw(name="sig", hops=15)))
    assert message.headers["signal-broker-hops"] == 16
    assert decode_signal(received(message)).throw.hops == 15
    headers = {name: value for name, value in message.headers.items() if name != "signal-broker-hops"}
    assert decode_signal(received(replace(message, headers=headers))).throw.hops == 0


def test_when_a_signal_expires_is_told_as_cloudevents_do():
    message = signal_message(Signal(id=1, created_at=MOMENT, throw=Throw(name="sig", expires_at=MOMENT)))
    assert message.headers["ce-expirytime"] == "2026-11-22T10:00:00.123Z"


def test_a_due_attempt_survives_its_message():
    due = decode_due_attempt(received(due_message(DueAttempt(42, 7, 3))))
    assert (due, due.at) == (DueAttempt(42, 7, 3), None)


def test_a_reservation_survives_the_message_of_its_attempt():
    due = decode_due_attempt(received(due_message(DueAttempt(42, 7, 3, at=MOMENT))))
    assert (due, due.at) == (DueAttempt(42, 7, 3), MOMENT)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"delivery":"1"}',
        b'{"delivery":"1-2"}',
        b'{"delivery":"1-2","attempt":"x"}',
        b'{"delivery":"1-2","attempt":"3"}',
        b'{"delivery":"1-2","attempt":1.5}',
        b'{"delivery":"1-2","attempt":true}',
        b'{"delivery":"1-2","attempt":0}',
        b'{"delivery":"1-2","attempt":4294967296}',
        b'{"delivery":"1-2","attempt":1,"at":"x"}',
        b'{"delivery":"1-2","attempt":1,"at":1e99}',
        b'{"delivery":"1-99999999999999999999","attempt":1}',
    ],
)
def test_what_is_not_a_due_attempt_is_undecodable(body):
    with pytest.raises(Undecodable):
        decode_due_attempt(received(replace(due_message(DueAttempt(1, 2, 3)), body=body)))


@pytest.mark.parametrize("header", ["signal-id", "scope", "source", "ce-type", "ce-time"])
def test_a_signal_without_its_headers_is_undecodable(header):
    message = signal_message(Signal(id=1, created_at=MOMENT, throw=Throw(name="sig")))
    headers = {key: value for key, value in message.headers.items() if key != header}
    with pytest.raises(Undecodable):
        decode_signal(received(replace(message, headers=headers)))
