"""CloudEvents: what their attributes and their data may be, and what signals are as events."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from broker.cloudevents import event_json, header_value, make_event, read_event
from broker.errors import InvalidDocument
from broker.signals import Scope, Signal, Throw
from broker.targets import Format, QueueTarget, WebhookTarget, load_target

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def pointers(*, data=b"", **attributes):
    """Return the places of what is wrong with an event."""
    try:
        make_event(REQUIRED | attributes, data, lambda name: name)
    except InvalidDocument as error:
        return [one.pointer for one in error.errors]
    return []


@pytest.mark.parametrize("text", ["\x00", "\x85", "\ud800", "\ufdd0", "\uffff", "\U0010fffe"])
def test_control_characters_surrogates_and_noncharacters_are_no_text(text):
    assert pointers(subject=f"a{text}b") == ["subject"]


@pytest.mark.parametrize("source", ["/", "a", "urn:uuid:6e8bc430", "https://[::1]/a?b=%20#c", "//host/path"])
def test_a_source_is_a_uri_reference(source):
    assert pointers(source=source) == []


@pytest.mark.parametrize(
    "source",
    ["", " ", "a b", "%zz", "<a>", "ü", "http://[::1", "http://[:::::::", "http://[x]/", "/a[b]", "http://a/[::1]"],
)
def test_what_is_no_uri_reference_is_no_source(source):
    assert pointers(source=source) == ["source"]


def test_a_members_null_is_no_attribute():
    event = read_event(json.dumps(REQUIRED | {"subject": None, "flag": True, "number": -5}).encode())
    assert event.attributes == REQUIRED | {"flag": "true", "number": "-5"}


def test_data_may_be_nested_as_deep_as_a_payload():
    def nested(levels):
        return pointers(data=b"[" * levels + b"]" * levels, datacontenttype="application/json")

    assert (nested(249), nested(250)) == ([], ["data"])


def test_a_headers_value_has_no_space_quote_percent_or_other_than_ascii():
    """The example of the HTTP binding, 3.1.3.2, and what it says must be encoded."""
    assert header_value("Euro € 😀") == "Euro%20%E2%82%AC%20%F0%9F%98%80"
    assert header_value('a"b%c~/?') == "a%22b%25c~/?"


def signal(payload):
    throw = Throw(name="a.b", payload=payload, scope=Scope.TENANT, tenant_id="t", ordering_key="k")
    return Signal(id=7, created_at=datetime(2026, 11, 28, tzinfo=UTC), throw=throw)


def test_a_signal_is_an_event_with_the_payload_as_it_was_sent():
    assert event_json(signal(b'{"a":1.50 }')) == (
        b'{"specversion":"1.0","id":"7","source":"/signal-broker/native","type":"a.b",'
        b'"time":"2026-11-28T00:00:00.000Z","datacontenttype":"application/json","tenantid":"t","partitionkey":"k",'
        b'"data":{"a":1.50 }}'
    )


def test_a_recorded_payload_that_is_no_json_is_a_string():
    assert json.loads(event_json(signal(b"no JSON")))["data"] == "no JSON"


@pytest.mark.parametrize("target", [QueueTarget(queue="q"), WebhookTarget(url="https://example.com/")])
def test_a_step_that_an_earlier_version_stored_has_the_standard_format(target):
    columns = {name: value for name, value in target.columns.items() if name not in {"format", "request_origin"}}
    assert load_target(columns) == target
    assert target.format is Format.STANDARD
