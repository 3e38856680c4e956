"""Frames with what others wrote: pamqp reads them all, and says nothing where it cannot."""

from __future__ import annotations

import struct

import pamqp.frame
import pytest

from broker.transport.rabbitmq.tolerance import be_tolerant
from tests.support.forging import forge, nested, number, properties, text

be_tolerant()


def read(raw):
    payload = struct.pack(">HHQ", 60, 0, 5) + raw
    frame = struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"
    size, channel, header = pamqp.frame.unmarshal(frame)
    assert (size, channel, header.body_size) == (len(frame), 1, 5)
    return header.properties


def written(**changes):
    return b"".join(
        properties(
            **{"headers": {b"id": number(7), b"a": text("é".encode())}, "kind": b"sig", "timestamp": 1} | changes
        ).encode()
    )


def test_readable_properties_are_read():
    found = read(written(more=True, encoding=b"gzip"))
    assert (found.headers, found.message_type, found.timestamp.timestamp()) == ({"id": 7, "a": "é"}, "sig", 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": (1 << 64) - 1},
        {"timestamp": 1 << 63},
        {"headers": {b"\xff": number(1)}},
        {"headers": {b"a": b"T" + b"\xff" * 8}},
        {"headers": {b"a": b"?what"}},
        {"headers": {b"a": nested(5000)}},
    ],
    ids=str,
)
def test_what_is_unreadable_is_not_there(changes):
    found = read(written(**changes))
    assert (found.headers, found.message_type, found.timestamp, found.content_type) == (None, None, None, None)


def test_a_text_that_is_not_utf_8_is_shown_with_replacements():
    assert read(written(kind=b"a\xff")).message_type == "a\ufffd"


def test_no_forged_properties_are_too_much():
    for one in forge({b"id": number(7)}, b"{}", kind=b"sig", timestamp=1, seed=7, count=500):
        read(b"".join(one.properties.encode()))
