"""What we marshal ourselves, read back with pamqp."""

from __future__ import annotations

from datetime import UTC, datetime

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.transport import Message
from broker.transport.rabbitmq import frames


def read(parts):
    data, read = b"".join(parts), []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == 7
        data = data[size:]
        read.append(frame)
    return read


def marshal(message, *, exchange="signals.routed", routing_key="tenant.a.changed", body_limit=1000):
    return read(
        frames.publish(
            message,
            exchange=exchange,
            routing_key=routing_key,
            mandatory=True,
            message_id="id.1",
            channel=7,
            body_limit=body_limit,
        )
    )


shorts = st.text(max_size=63)
headers = st.dictionaries(
    st.text(max_size=30),
    st.text(max_size=200) | st.integers(-(1 << 63), (1 << 63) - 1) | st.lists(st.text(max_size=50), max_size=4),
)


@pytest.mark.slow
@given(
    st.builds(
        Message,
        body=st.binary(max_size=50),
        headers=headers,
        type=st.none() | shorts,
        timestamp=st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        content_type=shorts,
    ),
    shorts,
    shorts,
)
def test_every_message_reads_back_as_it_was(message, exchange, routing_key):
    publish, header, *body = marshal(message, exchange=exchange, routing_key=routing_key)
    assert isinstance(publish, Basic.Publish)
    assert (publish.exchange, publish.routing_key, publish.mandatory) == (exchange, routing_key, True)
    assert isinstance(header, ContentHeader)
    properties = header.properties
    assert header.body_size == len(message.body)
    assert b"".join(part.value for part in body) == message.body
    assert properties.headers == message.headers
    assert properties.message_type == message.type
    assert properties.timestamp == (message.timestamp and message.timestamp.replace(microsecond=0))
    assert properties.content_type == message.content_type
    assert (properties.delivery_mode, properties.message_id, properties.app_id) == (2, "id.1", "signal-broker")


@pytest.mark.parametrize(
    ("size", "pieces"), [(0, []), (1, [1]), (1000, [1000]), (1001, [1000, 1]), (3000, [1000, 1000, 1000])]
)
def test_a_body_is_cut_to_the_size_of_a_frame(size, pieces):
    _, _, *body = marshal(Message(body=b"x" * size))
    assert [len(part.value) for part in body] == pieces


def test_a_list_is_an_array_of_long_strings_as_cc_wants_it():
    parts = b"".join(
        frames.publish(
            Message(body=b"", headers={"CC": ["a", "b"]}),
            exchange="",
            routing_key="",
            mandatory=True,
            message_id="",
            channel=7,
            body_limit=1000,
        )
    )
    assert b"\x02CCA\x00\x00\x00\x0cS\x00\x00\x00\x01aS\x00\x00\x00\x01b" in parts


def test_a_name_of_255_bytes_is_sent():
    publish, header = marshal(Message(body=b"", type="x" * 255), routing_key="ä" * 127 + "a")
    assert publish.routing_key == "ä" * 127 + "a"
    assert header.properties.message_type == "x" * 255


@pytest.mark.parametrize(
    "wrong",
    [
        {"routing_key": "ä" * 128},
        {"exchange": "x" * 256},
        {"message": Message(body=b"", type="x" * 256)},
        {"message": Message(body=b"", headers={"x" * 256: 1})},
        {"message": Message(body=b"", headers={"x": 1 << 63})},
    ],
    ids=["routing key", "exchange", "type", "header's name", "integer"],
)
def test_what_amqp_cannot_say_is_refused(wrong):
    with pytest.raises(ValueError, match=r"255|64 bits"):
        marshal(**{"message": Message(body=b""), **wrong})


@pytest.mark.parametrize("mandatory", [True, False])
def test_a_publish_is_marshalled_as_pamqp_does(mandatory):
    ours = frames.publish(
        Message(body=b""),
        exchange="signals.routed",
        routing_key="a",
        mandatory=mandatory,
        message_id="",
        channel=7,
        body_limit=1000,
    )
    theirs = pamqp.frame.marshal(Basic.Publish(exchange="signals.routed", routing_key="a", mandatory=mandatory), 7)
    assert b"".join(ours).startswith(theirs)


def test_a_content_header_is_of_the_class_basic_and_has_no_weight():
    parts = frames.publish(
        Message(body=b""), exchange="", routing_key="", mandatory=True, message_id="", channel=7, body_limit=1000
    )
    assert parts[2].startswith(b"\x00\x3c\x00\x00")
