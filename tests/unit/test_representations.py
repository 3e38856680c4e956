"""Signals as JSON documents, whatever was recorded."""

from __future__ import annotations

import json

import pytest

from broker.representations import archive_line, signal_json, signal_members
from tests.support.builders import signal


@pytest.mark.parametrize(
    ("payload", "types"),
    [
        (b"hello", {}),
        (b"", {}),
        (b"[" * 300 + b"]" * 300, {}),
        (b'{"a": 1}', {"a": {}}),
        (b'{"a": 1}', {"a": {"type": "Json", "style": "fancy"}}),
    ],
)
def test_what_an_earlier_version_recorded_of_a_foreign_message_is_shown_as_text(payload, types):
    found = signal(payload=payload, types=types)
    members = signal_members(found, {})
    assert (members["payload"], members["variables"]) == (payload.decode(), {})
    assert json.loads(signal_json(found, {}))["payload"] == payload.decode()
    assert json.loads(archive_line(found, []))["payload"] == payload.decode()
