"""CloudEvents 1.0: the rules that an event's attributes follow, and how an event is read and written as JSON."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from broker.errors import InvalidDocument, InvalidField, pointer_to
from broker.jsonparts import raw_members
from broker.jsontext import MAX_MEMBER_NESTING, check, encode, read, write_fast
from broker.moments import read_moment, show_moment
from broker.signals import Signal

VERSION = "1.0"
STRUCTURED = "application/cloudevents+json"
JSON = "application/json"
AMQP_PREFIX = "cloudEvents:"
"""What attributes are called by in the application properties of AMQP 1.0 (CloudEvents AMQP binding, 3.1.3.1)."""

Place = Callable[[str], str]
"""Where a caller wrote an attribute, for errors: a JSON pointer, or a header's name."""

_REQUIRED = ("specversion", "id", "source", "type")
_TEXTS = {*_REQUIRED, "time", "subject", "dataschema", "datacontenttype", "tenantid", "executionid", "partitionkey"}
_NAME = re.compile("[a-z0-9]+")
_UNCLEAN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
"""Control characters, halves of surrogate pairs, and noncharacters (CloudEvents 1.0, Type System)."""
_REFERENCE = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:{_REFERENCE.pattern}")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;.*)?", re.ASCII)
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)', re.IGNORECASE)
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What is not percent-encoded in headers."""
_LEAST, _MOST = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """An event whose attributes follow the rules.

    Args:
        attributes: By name, in their canonical form as text. `datacontenttype` is among them if it was given.
        payload: Its data as JSON text: JSON as it was sent, a text as a string, and other bytes as a string in base64.
    """

    attributes: Mapping[str, str]
    payload: bytes


def make_event(attributes: Mapping[str, str], data: bytes, place: Place) -> CloudEvent:
    """Return the event with these *attributes*, in their canonical form, and *data*, which may be empty for none.

    Raises:
        InvalidDocument: An attribute or the data breaks a rule of CloudEvents.
    """
    check_attributes(attributes, place)
    return CloudEvent(attributes, _payload(data, attributes, place))


def read_event(text: bytes) -> CloudEvent:
    """Return the event that *text*, known to be valid JSON in UTF-8, is (CloudEvents JSON format, 3).

    Raises:
        InvalidDocument: It breaks a rule of CloudEvents.
    """
    document = read(text.decode())
    if not isinstance(document, dict):
        raise InvalidDocument([InvalidField("", "must be a JSON object: an event")])
    members = {name: value for name, value in document.items() if name not in {"data", "data_base64"}}
    errors = [error for name, value in members.items() if (error := _wrong_value(name, value)) is not None]
    if errors:
        raise InvalidDocument(errors)
    attributes = {name: _canonical(value) for name, value in members.items() if value is not None}
    check_attributes(attributes, _pointer)
    encoded = document.get("data_base64")
    if encoded is None:
        data = raw_members(text).get("data")
        return CloudEvent(attributes, b"{}" if data is None else data.strip(" \t\r\n").encode())
    if "data" in document:
        raise InvalidDocument([InvalidField("/data_base64", "cannot be given together with data")])
    return CloudEvent(attributes, _payload(_decode(encoded), attributes, lambda _: "/data_base64"))


def check_attributes(attributes: Mapping[str, str], place: Place) -> None:
    """Check that *attributes*, in their canonical form, follow the rules of CloudEvents 1.0.

    Raises:
        InvalidDocument: They do not.
    """
    errors = [InvalidField(place(name), "is required") for name in _REQUIRED if name not in attributes]
    for name, value in attributes.items():
        problem = _problem(name, value)
        if problem is not None:
            errors.append(InvalidField(place(name), problem))
    if errors:
        raise InvalidDocument(errors)


def event_attributes(signal: Signal) -> dict[str, str]:
    """Return the attributes of the event that *signal* is; its payload is the data."""
    throw = signal.throw
    optional = {
        "tenantid": throw.tenant_id,
        "executionid": throw.execution_id,
        "partitionkey": throw.ordering_key,
        "expirytime": None if throw.expires_at is None else show_moment(throw.expires_at),
    }
    return {
        "specversion": VERSION,
        "id": str(signal.id),
        "source": f"/signal-broker/{throw.source.value}",
        "type": throw.name,
        "time": show_moment(signal.created_at),
        "datacontenttype": JSON,
        **{name: value for name, value in optional.items() if value is not None},
    }


def header_value(text: str) -> str:
    """Return an attribute's value as a header has it (CloudEvents HTTP binding, 3.1.3.2)."""
    return quote(text, safe=_PLAIN)


def event_json(signal: Signal) -> bytes:
    """Return *signal* as an event in JSON; the payload is in it byte for byte as it was sent."""
    attributes, data = write_fast(event_attributes(signal)).encode(), signal.throw.payload
    try:
        check(data)
    except ValueError:  # earlier versions recorded foreign messages as well
        data = encode(data.decode())
    return attributes[:-1] + b',"data":' + data + b"}"


def _pointer(name: str) -> str:
    return pointer_to("", name)


def _wrong_value(name: str, value: object) -> InvalidField | None:
    """Return what is wrong with an attribute's *value* in JSON: only some types can be attributes."""
    if value is None or isinstance(value, str):
        return None
    if name in _TEXTS:
        return InvalidField(_pointer(name), "must be a string")
    if isinstance(value, int) and _LEAST <= value <= _MOST:
        return None
    return InvalidField(_pointer(name), f"must be a string, a boolean, or an integer from {_LEAST} to {_MOST}")


def _canonical(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _problem(name: str, value: str) -> str | None:
    """Return what is wrong with an attribute, None if it follows the rules."""
    if name == "data" or not _NAME.fullmatch(name):
        return "cannot name an attribute: names have lower-case letters and digits only, and `data` is none"
    unclean = _UNCLEAN.search(value)
    if unclean:
        return f"contains the character U+{ord(unclean.group()):04X}, which no attribute may"
    follows, rule = _RULES.get(name, (None, ""))
    return rule if follows is not None and not follows(value) else None


def _is_reference(value: str) -> bool:
    """Return whether *value* is a URI reference; brackets are those of an IPv6 address."""
    if not _REFERENCE.fullmatch(value):
        return False
    if "[" not in value and "]" not in value:
        return True
    try:
        host = urlsplit(value).netloc.rpartition("@")[2]
    except ValueError:
        return False
    return host.startswith("[") and value.count("[") == value.count("]") == 1


def _is_uri(value: str) -> bool:
    return _URI.fullmatch(value) is not None and _is_reference(value)


def _is_moment(value: str) -> bool:
    try:
        read_moment(value)
    except ValueError:
        return False
    return True


_RULES: dict[str, tuple[Callable[[str], object], str]] = {
    "specversion": (VERSION.__eq__, f"must be {VERSION}"),
    "id": (bool, "must not be empty"),
    "type": (bool, "must not be empty"),
    "subject": (bool, "must not be empty"),
    "source": (
        _is_reference,
        "must be a URI reference (RFC 3986), like /orders or https://example.com/orders",
    ),
    "dataschema": (_is_uri, "must be an absolute URI (RFC 3986)"),
    "datacontenttype": (_MEDIA_TYPE.fullmatch, "must be a media type, like application/json"),
    "time": (_is_moment, "must be a date and time with its offset (RFC 3339), like 2026-11-22T10:00:00Z"),
}
"""What an attribute has to follow, and what is said where it does not."""


def _decode(encoded: object) -> bytes:
    try:
        if isinstance(encoded, str):
            return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidDocument([InvalidField("/data_base64", "must be a string in base64 (RFC 4648)")])


def _payload(data: bytes, attributes: Mapping[str, str], place: Place) -> bytes:
    """Return *data*, of the type that *attributes* tell, as JSON text."""
    content_type = attributes.get("datacontenttype", JSON)
    kind = content_type.partition(";")[0].strip().lower()
    is_json, is_text = (
        kind == JSON or kind.endswith("+json"),
        kind.startswith("text/") or kind.endswith(("/xml", "+xml")),
    )
    charset = _CHARSET.search(content_type)
    if (is_json or is_text) and charset and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}:
        problem = f"is in {charset[1]}; text and JSON are read in UTF-8"
        raise InvalidDocument([InvalidField(place("datacontenttype"), problem)])
    if not data:
        return b'""' if is_text and "datacontenttype" in attributes else b"{}"
    if not (is_json or is_text):
        return encode(b64encode(data).decode())
    try:
        text = data.decode().removeprefix("\ufeff")
        if is_text:
            return encode(text)
        read(text, levels=MAX_MEMBER_NESTING, long_integers=False)
    except ValueError as error:
        raise InvalidDocument([InvalidField(place("data"), f"is not {kind} in UTF-8: {error}")]) from error
    return text.strip(" \t\r\n").encode()
