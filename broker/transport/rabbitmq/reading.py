"""The frames that the server sends, read from bytes (AMQP 0-9-1, sections 2.3 and 4.2).

pamqp reads every frame; those of deliveries, of which there are three for each message, are read here, in a third of
the time. What is not as RabbitMQ and the product write it is left to pamqp.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

import aiormq.connection  # noqa: TID251
import pamqp.frame
from aiormq.connection import FrameReceiver  # noqa: TID251
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError  # noqa: TID251
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.common import FieldValue
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

_PIECE = 1 << 16
"""How many bytes are taken from the connection at once."""
_METHOD, _HEADER, _BODY = 1, 2, 3
_END = 0xCE
_FRAME = struct.Struct(">BHI")
_CONTENT = struct.Struct(">HHQH")
_DELIVER = struct.pack(">HH", Basic.frame_id, Basic.Deliver.index & 0xFFFF)
_UNSIGNED = struct.Struct(">I")
_LONG = struct.Struct(">q")
_STAMP = struct.Struct(">Q")
_TEXT = ord("S")
_MOST_SECONDS = 0xFFFFFFFF
"""Later timestamps may be milliseconds."""
_UNREAD = 0b11
"""Flags of no property: of more flags, and one that AMQP does not use."""

Read = tuple[int, int, Frame | ContentHeader | ContentBody | object]
"""A frame: how many bytes it has, its channel, and what it says."""
_Reading = Callable[[bytes, int], tuple[object, int]]
"""Reads what begins at a place; returns it, and where the next one begins."""


def read_quickly() -> None:
    """Let the connections that aiormq opens in this process read frames as `FrameReader` does."""
    aiormq.connection.FrameReceiver = FrameReader  # type: ignore[misc]


class FrameReader(FrameReceiver):
    """Takes what has arrived in large pieces, and reads the frames in them."""

    _data = b""
    _next = 0
    """Where in `_data` the next frame begins."""

    async def get_frame(self) -> Read:  # type: ignore[override]
        """Return the next frame.

        Raises:
            StopAsyncIteration: The connection had ended before.
            AMQPConnectionError: It ends.
            InvalidFrameError: There is no frame.
        """
        if not self.started:
            return await super().get_frame()
        while (frame := self._take()) is None:
            if self.reader.at_eof():
                raise StopAsyncIteration
            try:
                piece = await self.reader.read(_PIECE)
            except OSError as error:
                raise AMQPConnectionError(f"Server communication error: {error!r}") from error
            if not piece:
                raise AMQPConnectionError("Server connection unexpectedly closed")
            self._data, self._next = self._data[self._next :] + piece, 0
        return frame

    def _take(self) -> Read | None:
        """Return the next frame, or None if it is not complete yet."""
        data, start = self._data, self._next
        if len(data) < start + _FRAME.size:
            return None
        kind, channel, size = _FRAME.unpack_from(data, start)
        begin = start + _FRAME.size
        end = begin + size
        if len(data) <= end:
            return None
        self._next = end + 1
        if data[end] == _END and (read := _READERS.get(kind)):
            frame = read(data[begin:end])
            if frame is not None:
                return end + 1 - start, channel, frame
        try:
            return pamqp.frame.unmarshal(data[start : end + 1])
        except PAMQPException as error:
            raise InvalidFrameError(str(error)) from error


def _read_method(payload: bytes) -> Frame | None:
    """Return a basic.deliver; None for any other method, and for names that are no UTF-8."""
    if payload[:4] != _DELIVER:
        return None
    frame = Basic.Deliver.__new__(Basic.Deliver)
    try:
        frame.consumer_tag, at = _short(payload, 4)
        (frame.delivery_tag,) = _LONG.unpack_from(payload, at)
        frame.redelivered = bool(payload[at + 8] & 1)
        frame.exchange, at = _short(payload, at + 9)
        frame.routing_key, at = _short(payload, at)
    except (ValueError, LookupError, struct.error):
        return None
    return frame


def _read_header(payload: bytes) -> ContentHeader | None:
    """Return a content header; None if something in it is not as usual."""
    properties = Basic.Properties()
    try:
        class_id, weight, size, flags = _CONTENT.unpack_from(payload)
        at = _CONTENT.size
        if flags & _UNREAD:
            return None
        for name, read in _properties(flags):
            value, at = read(payload, at)
            setattr(properties, name, value)
    except (ValueError, LookupError, struct.error, OverflowError):
        return None
    header = ContentHeader.__new__(ContentHeader)
    header.class_id, header.weight, header.body_size, header.properties = class_id, weight, size, properties
    return header


@lru_cache(maxsize=256)
def _properties(flags: int) -> list[tuple[str, _Reading]]:
    """Return the properties that are there, in their order, with what reads them."""
    return [(name, read) for flag, name, read in _PROPERTIES if flags & flag]


def _short(data: bytes, at: int) -> tuple[str, int]:
    begin = at + 1
    end = begin + data[at]
    return data[begin:end].decode(), end


def _octet(data: bytes, at: int) -> tuple[int, int]:
    return data[at], at + 1


def _stamp(data: bytes, at: int) -> tuple[datetime, int]:
    (seconds,) = _STAMP.unpack_from(data, at)
    if seconds > _MOST_SECONDS:
        raise ValueError(seconds)
    return datetime.fromtimestamp(seconds, tz=UTC), at + 8


def _table(data: bytes, at: int) -> tuple[dict[str, FieldValue], int]:
    (size,) = _UNSIGNED.unpack_from(data, at)
    at += 4
    end = at + size
    if end > len(data):
        raise ValueError(end)
    table: dict[str, FieldValue] = {}
    while at < end:
        begin = at + 1
        at = begin + data[at]
        name = data[begin:at].decode()
        if data[at] == _TEXT:  # as most are: without calls it takes three quarters of the time
            begin = at + 5
            at = begin + _UNSIGNED.unpack_from(data, at + 1)[0]
            table[name] = data[begin:at].decode()
        else:
            table[name], at = _value(data, at)
    if at != end:
        raise ValueError(at)
    return table, at


def _value(data: bytes, at: int) -> tuple[FieldValue, int]:
    """Return a text, an integer of 64 bits or an array of these."""
    kind = data[at : at + 1]
    if kind == b"l":
        return _LONG.unpack_from(data, at + 1)[0], at + 9
    (size,) = _UNSIGNED.unpack_from(data, at + 1)
    begin = at + 5
    end = begin + size
    if kind == b"S":
        return data[begin:end].decode(), end
    if kind != b"A":
        raise ValueError(kind)
    items: list[FieldValue] = []
    at = begin
    while at < end:
        if data[at : at + 1] == b"A":
            raise ValueError(at)
        item, at = _value(data, at)
        items.append(item)
    if at != end:
        raise ValueError(at)
    return items, end


_BY_TYPE: dict[str, _Reading] = {"shortstr": _short, "octet": _octet, "timestamp": _stamp, "table": _table}
_PROPERTIES: list[tuple[int, str, _Reading]] = [
    (Basic.Properties.flags[name], name, _BY_TYPE[Basic.Properties.amqp_type(name)])
    for name in Basic.Properties.attributes()
]
_READERS: dict[int, Callable[[bytes], Frame | ContentHeader | ContentBody | None]] = {
    _METHOD: _read_method,
    _HEADER: _read_header,
    _BODY: ContentBody,
}
