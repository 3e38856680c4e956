"""What reads the bytes of others, each as a function of bytes that fails if a promise is broken.

A target raises nothing but what its reader says that it raises, and checks what must be true of all that is read.
Fields of an input are separated by the byte 0xFF, which is in no UTF-8.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pamqp.frame

from broker.conversions import convert, unstorable
from broker.deliveries import DueAttempt
from broker.echoes import Echoes
from broker.egress import Guard, check_headers, url_problem
from broker.errors import InvalidField, UnconvertibleVariable
from broker.filters import Context, load_filter, parse_filter
from broker.filters.conditions import Long
from broker.java_dates import normalize
from broker.jsonparts import raw_elements, raw_members
from broker.jsontext import Infinite, check, encode, read, read_doubles, read_first, write_fast
from broker.messages import Undecodable, decode_due_attempt, decode_signal, due_message, signal_message
from broker.moments import next_millisecond, read_moment, show_moment
from broker.mustache import Malformed, parse
from broker.signals import Signal, Source, Throw
from broker.templates import (
    BODY_LIMIT,
    Unrenderable,
    check_template,
    check_url_template,
    render_body,
    render_header,
    render_url,
)
from broker.transport import Received
from broker.transport.rabbitmq.frames import publish
from broker.variables import split
from gateway.camunda.errors import CamundaError
from gateway.camunda.requests import parse_signal
from gateway.encodings import ENCODINGS, inflate
from gateway.http_errors import BadRequest, TooLarge
from gateway.unleash.payloads import read_form
from workers.webhooks.answers import EXCERPT_LIMIT, READ_LIMIT, AnswerReader, Unreadable
from workers.webhooks.urls import parse_url

_NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
_KINDS = (None, "String", "Boolean", "Short", "Integer", "Long", "Double", "Date", "Bytes", "Null", "Json", "Xml")
_KINDS += ("Object", "File", "Number", "string", "integer", "Whatever")
_GUARD = Guard()


@dataclass(frozen=True, slots=True)
class Target:
    """One reader, what tries it, and inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: Sequence[bytes]


def _fields(data: bytes, count: int) -> list[bytes]:
    """Return the first *count* fields of *data*; those that are missing are empty."""
    fields = data.split(b"\xff", count - 1)
    return fields + [b""] * (count - len(fields))


def _texts(data: bytes, count: int) -> list[str]:
    return [one.decode(errors="replace") for one in _fields(data, count)]


def _has_infinite(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_infinite, value.values()))
    return any(map(_has_infinite, value)) if isinstance(value, list) else isinstance(value, Infinite)


def json_reader(data: bytes) -> None:
    """Every reader of JSON agrees with `read`, which agrees with what it writes."""
    try:
        value = read(data.decode())
    except ValueError:
        value = None
        try:
            check(data)
        except ValueError:
            with suppress(ValueError):
                read_first(data.decode(errors="replace"))
            return
        raise AssertionError("check takes what read refuses") from None
    check(data)
    assert read_first(data.decode()) == value
    read_doubles(data)
    if not _has_infinite(value):
        assert read(encode(value).decode()) == value
        assert read(write_fast(value)) is not ...
    if isinstance(value, dict):
        raw = raw_members(data)
        assert {name: read(text) for name, text in raw.items()} == value
    if isinstance(value, list):
        assert [read(text.decode()) for text in raw_elements(data)] == value


def filters(data: bytes) -> None:
    """A filter that is taken is taken again as it is shown, and both evaluations agree."""
    filter_text, payload = _fields(data, 2)
    try:
        document = read(filter_text.decode())
        check(payload)
    except ValueError:
        return
    try:
        one = parse_filter(document)
    except InvalidField:
        return
    assert parse_filter(one.document).document == one.document == load_filter(one.document).document
    reason = one.mismatch(Context(payload))
    at_once = one.mismatch_at_once(Context(payload))
    assert isinstance(at_once, Long) or (at_once is None) == (reason is None), (at_once, reason)
    assert reason is None or len(reason) <= 300


def templates(data: bytes) -> None:
    """A template that is taken makes a body, a header and a URL that values cannot break out of."""
    template, payload = _fields(data, 2)
    text = template.decode(errors="replace")
    with suppress(Malformed):
        parse(text)
    try:
        context = {"payload": read(payload.decode()), "name": "sig", "id": 1}
    except ValueError:
        context = {"payload": payload.decode(errors="replace")}
    with suppress(InvalidField, Unrenderable):
        check_template(text, "/t")
        with suppress(InvalidField, Unrenderable):
            check_headers({"x": text})
            assert render_header(text, context).isprintable()
        with suppress(Unrenderable):
            body = render_body(text, "application/json", context)
            assert len(body) <= BODY_LIMIT
            assert not body or read(body.decode()) is not ...
        with suppress(Unrenderable):
            render_body(text, "application/x-www-form-urlencoded", context)
    url = f"https://h.example/a/{text}"
    with suppress(InvalidField, Unrenderable):
        if url_problem(check_url_template(url, "/u"), _GUARD) is None:
            made = render_url(url, context)
            assert made.startswith("https://h.example/a/")
            _check_destination(made)


def forms(data: bytes) -> None:
    """A form is a JSON object, or refused."""
    for charset in ("utf-8", "iso-8859-1"):
        with suppress(BadRequest, TooLarge):
            assert isinstance(read(read_form(data, charset).content.decode()), dict)


def conversions(data: bytes) -> None:
    """What Camunda's variables are converted to travels to the recorder and back."""
    kind, value_text, info_text = _fields(data, 3)
    try:
        value, info = read(value_text.decode()), read(info_text.decode() or "{}")
    except ValueError:
        return
    if not isinstance(info, dict):
        return
    name = _KINDS[kind[0] % len(_KINDS)] if kind else None
    try:
        variable = convert(value, name, info)
    except UnconvertibleVariable:
        return
    unstorable(variable)
    payload, types = split({"v": variable})
    with suppress(InvalidField):  # types that are too long
        _check_journey(Throw(name="s", payload=payload, types=types, source=Source.CAMUNDA))


def camunda_requests(data: bytes) -> None:
    """A body is a throw that travels, or an error in Camunda's form."""
    with suppress(CamundaError, InvalidField):
        wanted = parse_signal(data)
        _check_journey(Throw(name=wanted.name, payload=wanted.payload, types=wanted.types, source=Source.CAMUNDA))


def _check_journey(throw: Throw) -> None:
    signal = Signal(id=7, created_at=_NOW, throw=throw)
    assert decode_signal(_received(signal)) == signal


def _received(signal: Signal) -> Received:
    message = signal_message(signal)
    return Received(
        body=message.body,
        headers=message.headers,
        type=message.type,
        timestamp=message.timestamp,
        content_type=message.content_type,
        tag=1,
        redelivered=False,
    )


def dates(data: bytes) -> None:
    """A date of Java's is made one of a single form; a moment is shown as one that is read the same."""
    text = data.decode(errors="replace")
    with suppress(ValueError):
        normalize(text)
    with suppress(ValueError):
        shown = show_moment(next_millisecond(read_moment(text)))
        assert show_moment(read_moment(shown)) == shown


def foreign_messages(data: bytes) -> None:
    """What somebody else published is no message of the product's, and said to be none."""
    name, headers_text, body = _fields(data, 3)
    signal = Signal(id=7, created_at=_NOW, throw=Throw(name="s", payload=b"{}"))
    message = _received(signal)
    try:
        headers = read(headers_text.decode())
    except ValueError:
        headers = {}
    odd = Received(
        body=body,
        headers={**message.headers, **headers} if isinstance(headers, dict) else message.headers,
        type=name.decode(errors="replace"),
        timestamp=message.timestamp,
        content_type=message.content_type,
        tag=1,
        redelivered=False,
    )
    with suppress(Undecodable):
        assert decode_signal(odd).id > 0
    with suppress(Undecodable):
        due = decode_due_attempt(odd)
        assert decode_due_attempt(_due(due)) == due


def _due(due: DueAttempt) -> Received:
    message = due_message(due)
    return Received(
        body=message.body,
        headers={},
        type=None,
        timestamp=None,
        content_type=message.content_type,
        tag=1,
        redelivered=False,
    )


def frames(data: bytes) -> None:
    """What is written as frames is read by another library as it was meant."""
    name, tenant, key, body = _fields(data, 4)
    try:
        throw = Throw(
            name=name.decode(errors="replace"),
            payload=body,
            business_key=tenant.decode(errors="replace"),
            audience=tuple(key.decode(errors="replace").split(",")),
        )
    except InvalidField:
        return
    message = signal_message(Signal(id=7, created_at=_NOW, throw=throw))
    written = b"".join(
        publish(message, exchange="e", routing_key="k", mandatory=True, message_id="m" * 16, channel=1, body_limit=1000)
    )
    read_body, properties = bytearray(), None
    while written:
        size, channel, frame = pamqp.frame.unmarshal(written)
        assert channel == 1
        written = written[size:]
        if frame.name == "ContentHeader":
            properties = frame.properties
        elif frame.name == "ContentBody":
            read_body += frame.value
    assert bytes(read_body) == body
    assert properties.headers == {
        name: list(value) if isinstance(value, tuple) else value for name, value in message.headers.items()
    }
    assert (properties.message_type, properties.message_id) == (throw.name, "m" * 16)


def urls(data: bytes) -> None:
    """A URL that is taken is called at the host that was judged, with nothing but ASCII on the request's first line."""
    url = data.decode(errors="replace")
    if url_problem(url, _GUARD) is None:
        _check_destination(url)


def _check_destination(url: str) -> None:
    destination = parse_url(url)
    assert destination.host
    assert 0 < destination.port < 65536
    assert destination.target.startswith("/")
    for text in (destination.target, destination.authority):
        assert text.isascii(), url
        assert text.isprintable(), url
        assert " " not in text, url


def answers(data: bytes) -> None:
    """A receiver's answer is read the same wherever it is cut, and no more of it than the limits."""
    cuts, answer = _fields(data, 2)
    whole = _read_answer([answer])
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(answer[at : at + cut])
        at += cut
    assert _read_answer([*pieces, answer[at:]]) == whole


def _read_answer(pieces: Sequence[bytes]) -> object:
    reader = AnswerReader()
    try:
        for piece in pieces:
            reader.feed(piece)
        reader.close(properly=True)
    except Unreadable:
        return None
    assert len(reader.body) <= max(EXCERPT_LIMIT, READ_LIMIT)
    assert reader.head is not None
    excerpt = reader.head.excerpt(reader.body)
    assert excerpt is None or "\n" not in excerpt
    return reader.head.status, bytes(reader.body), reader.ended, reader.fault, excerpt


def bodies(data: bytes) -> None:
    """A compressed body is inflated up to its limit, as zlib inflates it."""
    for encoding in sorted(ENCODINGS):
        if data:
            with suppress(BadRequest, TooLarge):
                assert len(inflate(data, encoding, 1000)) <= 1000


def echoes(data: bytes) -> None:
    """A credential that a receiver echoes is not shown."""
    credential, text = _texts(data, 2)
    hidden = Echoes([credential]).hide(text)
    assert len(credential) < 16 or credential not in hidden


_SIGNAL = json.dumps({"name": "s", "variables": {"a": {"value": "2026-01-31T08:00:00.000+0000", "type": "Date"}}})

TARGETS = {
    "json": Target(
        json_reader, [b'{"a":[1,-2.5e3,"\\ud800",true,null],"":{}}', b"[[],[1e999]]", b"[" * 300, b'"\\u0000"']
    ),
    "filters": Target(
        filters,
        [
            b'{"cpu":{"operator":"NUM_GT","value":"90"},"anyOf":[{"a[*].b":{"operator":"IN","values":["x"]}}]}'
            b'\xff{"cpu":91,"a":[{"b":"x"}]}',
            b'{"v":{"operator":"SEMVER_LT","value":"1.2.3-b"},"d":{"operator":"DATE_AFTER","value":"2026-01-31"}}'
            b'\xff{"v":"1.2.2","d":"2026-02-01T00:00:00Z"}',
            b'{"p":{"operator":"REGEX","value":"^a+$","caseInsensitive":true},"i":{"operator":"IN_CIDR",'
            b'"values":["10.0.0.0/8","2001:db8::/32"],"inverted":true}}\xff{"p":"AAA","i":"10.1.2.3"}',
        ],
    ),
    "templates": Target(
        templates,
        [
            b'{"a": "{{payload.b}}", "c": {{payload.c}}}\xff{"b": "\\"x", "c": [1]}',
            b'{{#payload.list}}{{.}},{{/payload.list}}{{^payload.no}}{{name}}{{/payload.no}}\xff{"list": [1, "a/.."]}',
            b"{{payload.v}}?q={{payload.w}}\xff" + b'{"v": "..;", "w": "a b#"}',
        ],
    ),
    "forms": Target(
        forms, [b"a=1&b[]=2&b[]=3&c[d][e]=%C3%A9+x", b"a[0]=1&a[999]=2&__proto__[x]=1", b"a[[b]]=1&%5B=2&&="]
    ),
    "conversions": Target(
        conversions,
        [
            bytes([index]) + b"\xff" + value + b"\xff{}"
            for index in range(len(_KINDS))
            for value in (b'"2026-01-31T08:00:00.000+0000"', b"12", b'"{\\"a\\":1}"')
        ],
    ),
    "camunda": Target(
        camunda_requests, [_SIGNAL.encode(), _SIGNAL.encode("utf-16"), b'{"name":1,"withoutTenantId":"true"}']
    ),
    "dates": Target(
        dates,
        [
            b"2026-01-31T08:00:00.000+0200",
            b"0001-13-31T24:00:61.999GMT-2:00",
            b"2016-12-31T23:59:60.5Z",
            b"99999-1-1T0:0:0.0Z",
        ],
    ),
    "messages": Target(
        foreign_messages,
        [
            b's\xff{"scope":"tenant","ce-tenantid":"t","types":"{}","reach":["a"]}\xff{}',
            b's\xff{"deliver-at":"2026-11-23T10:00:00.000Z","token-id":1}\xff{"delivery":"7-1","attempt":1,"at":1.5}',
        ],
    ),
    "frames": Target(frames, [b"sig.a\xffkey\xffa,b\xff{}", "é".encode() + b"\xff\xff\xff" + b"x" * 2500]),
    "urls": Target(
        urls,
        [b"https://example.com:8443/a?b=%20c", "http://ex\u00e4mple.com./\u00fc".encode(), b"http://[2001:db8::1]:1/"],
    ),
    "answers": Target(
        answers,
        [
            b"\x03\x01\xffHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"\x10\x20\xffHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n003\r\nllo\r\n0\r\nX: y\r\n\r\n",
            b"\xffHTTP/1.1 103 E\r\n\r\nHTTP/1.0 503 S\nContent-Type: text/plain; charset=utf-16\nRetry-After: 1\n\na\x1b[0m",
        ],
    ),
    "bodies": Target(
        bodies, [zlib.compress(b"a" * 999), zlib.compress(b"a" * 999, wbits=31), zlib.compress(b"a", wbits=-15)]
    ),
    "echoes": Target(echoes, ["Bearer abcdefghijklmnop\ufffd".encode() + b"\xffyou sent Bearer%20abcdefghijklmnop"]),
}
"""All of them, by name."""
