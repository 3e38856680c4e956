"""What we read of the server's frames ourselves, beside what pamqp makes of them."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from datetime import UTC, datetime

import pamqp.frame
import pytest
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError  # noqa: TID251
from hypothesis import given
from hypothesis import strategies as st
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from broker.transport import Message
from broker.transport.rabbitmq import frames
from broker.transport.rabbitmq.reading import FrameReader
from broker.transport.rabbitmq.tolerance import be_tolerant
from tests.support.forging import forge, number, properties, text

be_tolerant()

shorts = st.text(max_size=63)
messages = st.builds(
    Message,
    body=st.binary(max_size=50),
    headers=st.dictionaries(
        st.text(max_size=30),
        st.text(max_size=200) | st.integers(-(1 << 63), (1 << 63) - 1) | st.lists(st.text(max_size=50), max_size=4),
    ),
    type=st.none() | shorts,
    timestamp=st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    content_type=shorts,
)


async def read(pieces):
    """Return the frames in *pieces*, which come one after the other, until the connection ends."""
    reader = asyncio.StreamReader()
    receiver, found = FrameReader(reader), []

    async def feed():
        for piece in pieces:
            reader.feed_data(piece)
            await asyncio.sleep(0)
        reader.feed_eof()

    feeding = asyncio.ensure_future(feed())
    with suppress(AMQPConnectionError):
        while True:
            found.append(await receiver.get_frame())
    await feeding
    return found


def told(size, channel, frame):
    """Return all that a frame says."""
    match frame:
        case ContentHeader():
            return size, channel, frame.class_id, frame.weight, frame.body_size, dict(frame.properties)
        case ContentBody():
            return size, channel, frame.value
        case Frame():
            return size, channel, frame.name, dict(frame)
        case _:
            return size, channel, type(frame)


def as_pamqp_reads(data):
    found = []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        data = data[size:]
        found.append(told(size, channel, frame))
    return found


def delivered(message, *, tag=1, redelivered=False, exchange="signals", routing_key="a.b", consumer="ctag-1", limit=20):
    """Return the frames with which the server hands out *message*."""
    deliver = Basic.Deliver(consumer, tag, redelivered, exchange, routing_key)
    published = frames.publish(
        message, exchange="", routing_key="", mandatory=False, message_id="id.1", channel=7, body_limit=limit
    )
    return pamqp.frame.marshal(deliver, 7) + b"".join(published[1:])


def with_header(raw):
    """Return a content header with the properties *raw*."""
    payload = struct.pack(">HHQ", 60, 0, 5) + raw
    return struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"


FIRST = pamqp.frame.marshal(Basic.QosOk(), 7)


@pytest.mark.slow
@given(
    message=messages,
    tag=st.integers(0, (1 << 63) - 1),
    redelivered=st.booleans(),
    routing_key=shorts,
    cut=st.integers(1, 60),
)
def test_a_delivery_is_read_as_pamqp_reads_it_however_it_arrives(message, tag, redelivered, routing_key, cut):
    data = FIRST + 2 * delivered(message, tag=tag, redelivered=redelivered, routing_key=routing_key)
    pieces = [data[start : start + cut] for start in range(0, len(data), cut)]
    assert [told(*frame) for frame in asyncio.run(read(pieces))] == as_pamqp_reads(data)


async def test_usual_frames_are_not_left_to_pamqp(monkeypatch):
    headers = {"id": 7, "names": ["a", "é"]}
    data = delivered(Message(body=b"{}", headers=headers, type="signal", timestamp=datetime.now(UTC)))
    expected, left, unmarshal = as_pamqp_reads(FIRST + data), [], pamqp.frame.unmarshal
    monkeypatch.setattr(pamqp.frame, "unmarshal", lambda raw: left.append(raw) or unmarshal(raw))
    assert [told(*frame) for frame in await read([FIRST + data])] == expected
    assert left == [FIRST]


def test_forged_properties_are_read_as_pamqp_reads_them():
    forged = forge({b"id": number(7)}, b"{}", kind=b"sig", timestamp=1, seed=9, count=500)
    data = FIRST + b"".join(with_header(b"".join(one.properties.encode())) for one in forged)
    assert repr([told(*frame) for frame in asyncio.run(read([data]))]) == repr(as_pamqp_reads(data))


@pytest.mark.parametrize(
    "raw",
    [
        properties(headers={b"\xff": number(1)}, kind=b"sig", timestamp=1),
        properties(headers={b"a": text(b"\xff")}, kind=b"sig", timestamp=1),
        properties(headers={b"a": b"A\x00\x00\x00\x02S\x00"}, kind=b"sig", timestamp=1),
        properties(headers={b"a": b"S\x00\x00\xff\xff"}, kind=b"sig", timestamp=1),
        properties(headers={b"a": b"S\x00\x00\x00\x04x"}, kind=b"sig", timestamp=1),
        properties(headers={b"a": b"A" + struct.pack(">I", 9) + number(1)}, kind=b"sig", timestamp=1),
        properties(headers={}, kind=b"\xff", timestamp=1 << 40, more=True),
    ],
    ids=range(7),
)
def test_what_is_unusual_is_left_to_pamqp(raw):
    frame = with_header(b"".join(raw.encode()))
    assert repr([told(*one) for one in asyncio.run(read([FIRST + frame]))]) == repr(as_pamqp_reads(FIRST + frame))


def test_other_frames_are_read_too():
    data = FIRST + Heartbeat().marshal() + pamqp.frame.marshal(Basic.Ack(3, True), 7)
    assert [told(*frame) for frame in asyncio.run(read([data]))] == as_pamqp_reads(data)


async def test_what_is_no_frame_ends_the_connection():
    with pytest.raises(InvalidFrameError):
        await read([FIRST, b"\x01\x00\x07\x00\x00\x00\x01x!"])


async def test_a_table_that_is_to_be_longer_than_its_frame_is_not_cut_off():
    data = FIRST + with_header(struct.pack(">HI2scI3s", 1 << 13, 107, b"\x01a", b"S", 100, b"xyz"))
    frames = await read([data])
    assert repr([told(*frame) for frame in frames]) == repr(as_pamqp_reads(data))
    assert frames[1][2].properties.headers is None


async def test_a_connection_that_ends_within_a_frame_is_lost():
    reader = asyncio.StreamReader()
    receiver = FrameReader(reader)
    reader.feed_data(FIRST + b"\x01\x00\x07")
    await receiver.get_frame()
    ending = asyncio.ensure_future(receiver.get_frame())
    await asyncio.sleep(0)
    reader.feed_eof()
    with pytest.raises(AMQPConnectionError):
        await ending
