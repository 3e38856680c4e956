"""What a neighbour in the vhost may publish to a queue of the product: anything that RabbitMQ itself lets pass."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from pika.spec import BasicProperties

_CONTENT_TYPE, _ENCODING, _HEADERS, _DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
_PRIORITY, _CORRELATION, _REPLY_TO, _MESSAGE_ID = 1 << 11, 1 << 10, 1 << 9, 1 << 7
_TIMESTAMP, _TYPE, _APP_ID = 1 << 6, 1 << 5, 1 << 3
_LARGE = 16 << 20


class Forged(NamedTuple):
    """One message: the bytes of its properties, as RabbitMQ gets them, and its body."""

    properties: Properties
    body: bytes


class Properties(BasicProperties):
    """Properties that are written as they are given, whatever pika would make of them."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self._raw = raw

    def encode(self) -> list[bytes]:
        """Return the bytes."""
        return [self._raw]


def text(value: bytes) -> bytes:
    """Return *value* as a long string of a table."""
    return b"S" + struct.pack(">I", len(value)) + value


def number(value: int) -> bytes:
    """Return *value* as a 64-bit integer of a table."""
    return b"l" + struct.pack(">q", value)


def _sized(items: bytes) -> bytes:
    return struct.pack(">I", len(items)) + items


def _short(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def table(values: Mapping[bytes, bytes]) -> bytes:
    """Return a table of *values*, which are written already."""
    return _sized(b"".join(_short(name) + value for name, value in values.items()))


def nested(levels: int) -> bytes:
    """Return a value of a table that is nested so many *levels* deep."""
    value = table({})
    for _ in range(levels):
        value = table({b"a": b"F" + value})
    return b"F" + value


_ODD = (
    b"t\x01",
    b"b\xff",
    b"B\xff",
    b"s\x80\x00",
    b"u\xff\xff",
    b"I\x80\x00\x00\x00",
    b"i\xff\xff\xff\xff",
    b"l\x80" + bytes(7),
    b"f" + struct.pack(">f", float("nan")),
    b"d" + struct.pack(">d", float("inf")),
    b"D\xff\x7f\xff\xff\xff",
    b"T" + b"\xff" * 8,
    b"T\x7f" + b"\xff" * 7,
    b"V",
    nested(2000),
    b"x" + _sized(b"\xff\x00"),
    b"S" + _sized(b"\xff\xfe"),
    b"S" + _sized(b"a\x00b"),
    b"S" + _sized(b"x" * 70_000),
    b"A" + _sized(b"V" + text(b"a")),
    b"A" + _sized(b"A" + _sized(b"F" + table({b"a": b"V"}))),
    b"F" + table({b"count": number(1 << 62), b"queue": text(b"signals.record")}),
)
"""A value of every type that RabbitMQ knows, at its edges."""


def properties(
    *,
    headers: Mapping[bytes, bytes],
    kind: bytes,
    timestamp: int,
    content_type: bytes = b"application/json",
    encoding: bytes | None = None,
    more: bool = False,
) -> Properties:
    """Return properties as they go over the wire; *more* has all the others, too."""
    flags = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _TIMESTAMP | _TYPE
    flags |= (_ENCODING if encoding is not None else 0) | (
        _PRIORITY | _CORRELATION | _REPLY_TO | _MESSAGE_ID | _APP_ID if more else 0
    )
    parts = [
        struct.pack(">H", flags),
        _short(content_type),
        _short(encoding) if encoding is not None else b"",
        table(headers),
        b"\x02",
        b"\xff" + _short(b"\xff\x00") + _short(b"x" * 255) if more else b"",
        _short(b"\xfe") if more else b"",
        struct.pack(">Q", timestamp),
        _short(kind),
        _short(b"somebody else") if more else b"",
    ]
    return Properties(b"".join(parts))


def forge(
    headers: Mapping[bytes, bytes], body: bytes, *, kind: bytes, timestamp: int, seed: int, count: int
) -> Iterator[Forged]:
    """Yield *count* messages that are one of the product's but for one thing or more, a large one among them.

    Args:
        headers: Those of the real one.
        body: Its body.
        kind: Its type.
        timestamp: Its timestamp.
        seed: Another seed makes others.
        count: How many.
    """
    rng = random.Random(seed)
    for position in range(count):
        made = dict(headers)
        other = {"content_type": b"application/json", "encoding": None, "kind": kind, "timestamp": timestamp}
        content = b"{" + b" " * _LARGE + b"}" if position == 0 else body
        changes: list[Callable[[], object]] = [
            lambda made=made: made.pop(rng.choice(list(made)), None) if made else None,
            lambda made=made: made.update({rng.choice([*headers, b"x-death"]): rng.choice(_ODD)}),
            lambda made=made: made.update({b"signal-id": number(rng.choice([-1, 0, 1 << 61, (1 << 63) - 1]))}),
            lambda made=made: made.update(
                {b"x-death": b"A" + _sized(b"F" + table({b"count": number(99), b"reason": text(b"rejected")}))}
            ),
            lambda made=made: made.update({b"\xff\xfe": text(b"a name that is no text")}),
            lambda other=other: other.update(timestamp=rng.choice([0, 1, 1 << 33, 1 << 63, (1 << 64) - 1])),
            lambda other=other: other.update(kind=rng.choice([b"", b"\xff", b"other", b"x" * 255])),
            lambda other=other: other.update(content_type=rng.choice([b"", b"text/plain", b"\xff/\xff"])),
            lambda other=other: other.update(encoding=rng.choice([b"gzip", b"", b"\xff"])),
        ]
        for change in rng.sample(changes, rng.randint(1, 3)):
            change()
        if rng.random() < 0.4 and position:
            content = rng.choice(
                [b"", b"hello", b"\xff\xfe", b"[" * 100_000, b'{"a":NaN}', b"1" * 5000, b'{"delivery":']
            )
        yield Forged(properties(headers=made, more=rng.random() < 0.3, **other), content)
