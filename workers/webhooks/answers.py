"""Answers of receivers, read as tolerantly as curl reads them, and no further than their limits.

What can be understood in one way only is understood; a connection whose answer was odd in any way is not used again, so
nothing depends on where exactly such an answer ended.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from broker.texts import printable

HEAD_LIMIT = 300 * 1024
"""How large the head of an answer may be, in bytes, with those of informational answers before it."""
READ_LIMIT = 64 * 1024
"""How much of an answer's body is read, in bytes; after a longer body the connection is closed."""
HEAD_LINES_LIMIT = 5000
"""How many lines the head of an answer may have, as in curl. An informational answer counts as ten."""
FRAMES_LIMIT = 1000
"""How many chunks and trailers of an answer's body are read: each takes a step, however short it is."""
EXCERPT_LIMIT = 1024
"""How much of an answer's body is kept, in bytes."""
_LINE_LIMIT = 16 * 1024
"""How long a line of a chunked body's framing may be, in bytes."""
_MEMBERS = 100
"""How many members of a list in a header are told apart."""

_BLANK_LINE = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/([0-9](?:\.[0-9])?)[ \t]+([0-9]{3})(?:[ \t]+(.*))?\s*", re.DOTALL)
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?\s*", re.DOTALL)
_FOLD = re.compile(rb"\r?\n[ \t]+")
"""What a header's value is continued by on the next line."""
_PREFIX = b"HTTP/"
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_TEXT_ENCODING = re.compile(
    r"utf[-_]?(8|16|32)([-_]?[bl]e)?|(us-)?ascii|iso[-_]?8859[-_]\d+|latin[-_]?1|(windows[-_]|cp)125\d|koi8[-_][ru]"
    r"|shift[-_]jis|euc[-_](jp|kr)|gb(2312|k|18030)|big5",
    re.IGNORECASE,
)


class Unreadable(ValueError):
    """Raised when what came is no answer in HTTP; the text says what it is, as a sentence."""


class Endless(Unreadable):
    """Raised when the head of an answer is too large."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer.

    Args:
        status: The status, 0 to 999.
        reason: The text behind it, for people.
        persistent: Whether the connection may be kept for another request.
        fields: Header values by name in lower case, in the order they came.
    """

    status: int
    reason: str
    persistent: bool
    fields: dict[bytes, list[bytes]] = field(repr=False)

    def get(self, name: bytes) -> str | None:
        """Return the first value of the header *name*, given in lower case."""
        return next(iter(self.all(name)), None)

    def all(self, name: bytes) -> list[str]:
        """Return the values of all headers *name*, given in lower case."""
        return [_decode(value) for value in self.fields.get(name, ())]

    def tokens(self, name: bytes) -> list[bytes]:
        """Return the members, in lower case, of the list that the headers *name* are together."""
        return _tokens(self.fields, name)

    def excerpt(self, body: bytearray) -> str | None:
        """Return *body*, the beginning of the body, as one safe line; None if it is empty or compressed."""
        codings = self.tokens(b"content-encoding") + self.tokens(b"transfer-encoding")
        if not body or any(coding not in {b"", b"identity", b"chunked"} for coding in codings):
            return None
        charset = _CHARSET.search(self.get(b"content-type") or "")
        encoding = charset[1] if charset is not None and _TEXT_ENCODING.fullmatch(charset[1]) else "utf-8"
        try:
            text = _decode_beginning(body, encoding)
        except (LookupError, UnicodeError):  # the latter: UTF-16 and UTF-32 that do not begin with a byte order mark
            text = _decode_beginning(body, "utf-8")
        return one_line(text) or None


class AnswerReader:
    """Reads one answer from the bytes that come.

    Args:
        tunnel: Whether the request asked for a tunnel: then no answer has a body.

    `head` is there once it came, `body` holds the beginning of the body. When `ended` is true nothing more is read;
    `fault` then says what was wrong with the body, as a predicate ("was cut off").
    """

    def __init__(self, *, tunnel: bool = False) -> None:
        self.head: Head | None = None
        self.body = bytearray()
        self.ended = False
        self.fault: str | None = None
        self._tunnel = tunnel
        self._buffer = bytearray()
        self._searched = 0
        self._passed = 0
        """The size of what was read before the buffer's beginning: heads of informational answers, then framing."""
        self._lines = 0
        """How many lines were read: of the heads, then of the body's framing."""
        self._odd = False
        """Whether anything makes it doubtful where the answer ends."""
        self._size = 0
        """How much of the body was read."""
        self._read: Callable[[AnswerReader], bool] = AnswerReader._read_head  # bound, it would be a cycle
        self._left: int | None = None
        """How much is left of the body or of the present chunk; None if only the connection's end ends it."""

    @property
    def clean(self) -> bool:
        """Whether the next byte of the connection would belong to another answer."""
        return self.ended and self.fault is None and not self._odd and not self._buffer

    @property
    def last(self) -> bool:
        """Whether the connection ends with this answer, as its head says."""
        return self.head is not None and (not self.head.persistent or self._read is AnswerReader._read_rest)

    def feed(self, data: bytes) -> None:
        """Read *data*.

        Raises:
            Endless: The head is too large.
            Unreadable: This is no HTTP.
        """
        if self.ended:
            self._odd = True
            return
        self._buffer += data
        while not self.ended and self._read(self):
            pass

    def close(self, *, properly: bool) -> None:
        """Take note that nothing more will come, because the connection was closed *properly*, or was lost.

        Raises:
            Unreadable: There is no complete head.
        """
        if self.head is None:
            where = "within the answer's head" if self._buffer else "before there was an answer"
            raise Unreadable(f"the connection was {'closed' if properly else 'lost'} {where}")
        if not self.ended:
            self._end(None if self._read is AnswerReader._read_rest and properly else "was cut off")
        self._odd = True

    def _end(self, fault: str | None = None) -> bool:
        self.ended, self.fault = True, fault
        return False

    def _break_off(self) -> bool:
        """Read no more of a body that is too long."""
        self._odd = True
        return self._end()

    def _read_head(self) -> bool:
        buffer = self._buffer
        if buffer.startswith((b"\r", b"\n")):
            self._odd = True
            blank = len(buffer) - len(buffer.lstrip(b"\r\n"))
            self._passed += blank
            del buffer[:blank]
        if not buffer.startswith(_PREFIX[: len(buffer)]):
            raise Unreadable(_foreign(bytes(buffer[:64])))
        found = _BLANK_LINE.search(buffer, self._searched)
        if self._passed + (len(buffer) if found is None else found.end()) > HEAD_LIMIT:
            raise Endless(f"the answer's head has more than {HEAD_LIMIT // 1024} KiB")
        if found is None:
            self._searched = max(0, len(buffer) - 2)
            return False
        self._lines += max(10, buffer.count(b"\n", 0, found.end()) - 1)
        if self._lines > HEAD_LINES_LIMIT:
            raise Endless(f"the answer's head has more than {HEAD_LINES_LIMIT:,} lines")
        head = self._parse(bytes(buffer[: found.start()]))
        del buffer[: found.end()]
        self._searched = 0
        self._passed += found.end()
        if 100 <= head.status < 200 and head.status != 101:
            return True  # informational: another one follows
        self.head, self._lines, self._passed = head, 0, 0
        return self._begin_body(head)

    def _parse(self, raw: bytes) -> Head:
        line, _, rest = raw.partition(b"\n")
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            raise Unreadable(f"the answer is not HTTP: its first line is {_quote(line)}")
        version, status, reason = found.groups()
        fields: dict[bytes, list[bytes]] = {}
        for line in _FOLD.sub(b" ", rest).split(b"\n") if rest else ():
            name, colon, value = line.partition(b":")
            if not colon or name != name.strip() or b"\r" in value[:-1]:
                self._odd = True
            fields.setdefault(name.strip().lower(), []).append(value.strip())
        wishes = _tokens(fields, b"connection")
        persistent = b"close" not in wishes and (version == b"1.1" or (version == b"1.0" and b"keep-alive" in wishes))
        return Head(int(status), _decode(reason or b"").strip(), persistent, fields)

    def _begin_body(self, head: Head) -> bool:
        codings, lengths = head.tokens(b"transfer-encoding"), set(head.tokens(b"content-length"))
        if self._tunnel or head.status in {101, 204, 304}:
            self._odd |= head.status == 101
            return self._end()
        if codings and codings[-1] == b"chunked":
            self._odd |= bool(lengths) or len(codings) > 1
            self._read = AnswerReader._read_chunk_size
        elif not lengths or (codings and codings != [b"identity"]):
            self._odd = True
            self._read = AnswerReader._read_rest
        elif len(lengths) > 1 or not (length := lengths.pop()).isdigit() or len(length) > 18:
            self._odd = True
            return self._end("has a length that cannot be read")
        elif int(length):
            self._left = int(length)
            self._read = AnswerReader._read_sized
        else:
            return self._end()
        return True

    def _read_rest(self) -> bool:
        self._take(len(self._buffer))
        return False

    def _read_sized(self) -> bool:
        self._take_left()
        return self._end() if self._left == 0 and not self.ended else False

    def _read_chunk_size(self) -> bool:
        line = self._next_line()
        if line is None:
            return False
        found = _CHUNK.fullmatch(line)
        if found is None:
            return self._end("is not framed as chunks")
        self._left = int(found[1], 16)
        self._read = AnswerReader._read_chunk if self._left else AnswerReader._read_trailer
        self._lines += 1
        self._passed += len(line)  # a chunk may have extensions
        return (self._lines <= FRAMES_LIMIT and self._passed < READ_LIMIT) or self._break_off()

    def _read_chunk(self) -> bool:
        self._take_left()
        if self._left == 0:
            self._read = AnswerReader._read_end_of_chunk
        return bool(self._buffer)

    def _read_end_of_chunk(self) -> bool:
        line = self._next_line()
        if line is None:
            return False
        if line.strip():
            return self._end("is not framed as chunks")
        self._read = AnswerReader._read_chunk_size
        return True

    def _read_trailer(self) -> bool:
        line = self._next_line()
        if line is None:
            return False
        self._passed += len(line)
        self._lines += 1
        if not line.strip():
            return self._end()
        within = self._passed < HEAD_LIMIT and self._lines <= FRAMES_LIMIT
        return True if within else self._end("has trailers without an end")

    def _next_line(self) -> bytes | None:
        """Take a line from the buffer, without its end; None if it is not there yet, or has no end."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > _LINE_LIMIT:
                self._end("is not framed as chunks")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _take_left(self) -> None:
        self._left = (self._left or 0) - self._take(self._left or 0)

    def _take(self, most: int) -> int:
        """Take up to *most* bytes of the body from the buffer and return how many; break off at `READ_LIMIT`."""
        size = min(most, len(self._buffer))
        self.body += self._buffer[: min(size, EXCERPT_LIMIT - len(self.body))]
        del self._buffer[:size]
        self._size += size
        if self._size >= READ_LIMIT:
            self._break_off()
        return size


def _tokens(fields: Mapping[bytes, Sequence[bytes]], name: bytes) -> list[bytes]:
    return [token.strip().lower() for value in fields.get(name, ()) for token in value.split(b",", _MEMBERS)]


def one_line(text: str) -> str:
    """Return *text* without anything that could move a terminal's cursor or forge a line of a log."""
    return " ".join(printable(text[:EXCERPT_LIMIT]).split())


def _decode_beginning(body: bytearray, encoding: str) -> str:
    """Return the text that *body* is the beginning of; a character that is cut in two is dropped, not replaced.

    Raises:
        LookupError: There is no such encoding.
        UnicodeError: It does not say its byte order.
    """
    return codecs.getincrementaldecoder(encoding)("replace").decode(body)


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _quote(data: bytes) -> str:
    return (
        f"'{one_line(data.decode())}'"
        if data.isascii() and one_line(data.decode())
        else f"the bytes {data[:16].hex(' ')}"
    )


def _foreign(data: bytes) -> str:
    """Return what an answer is that begins with *data*, which is not HTTP."""
    if data[:2] in {b"\x15\x03", b"\x16\x03"}:
        return "the answer is not HTTP but TLS: the URL should probably begin with https://"
    if len(data) >= 9 and data[:2] == b"\0\0" and data[3:5] in {b"\x04\0", b"\x07\0"}:
        return "the answer is not HTTP/1.1 but HTTP/2"
    return f"the answer is not HTTP: it begins with {_quote(data)}"
