"""The request of ``POST /engine-rest/signal``, read as leniently and as strictly as Camunda's JSON mapper reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from json import detect_encoding
from typing import Any, NamedTuple

from broker.conversions import boolean, convert, unstorable
from broker.errors import UnconvertibleVariable, VariableTooDeep
from broker.jsontext import Infinite, read_first
from broker.variables import Types, plain, write_payload
from gateway.camunda.errors import (
    CamundaError,
    http_error,
    invalid_request,
    malformed,
    tenant_with_execution,
    unconvertible,
    unknown_engine,
)

_JSON = ("application", "json")
_LONE_STAR = re.compile(r"^\s*\*\s*(?=;|$)")
_QUOTED = r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)'
_MEMBER = re.compile(rf'(?:{_QUOTED}|[^,"])+', re.DOTALL)
"""A member of a list: a comma within quotes is part of it (RFC 9110, 5.6.1)."""
_MEDIA_RANGE = re.compile(r"\s*([^\s/;,]+)/([^\s/;,]+)\s*(?:;(.*))?", re.DOTALL)
_LIKE_ASCII = frozenset({"us-ascii", "iso-8859-1", "iso-8859-15", "latin1", "windows-1252"})
_UNICODE = re.compile(r"utf-?(8|16|32)")
_STRING = re.compile(_QUOTED, re.DOTALL)
_QUALITY = re.compile(r"(?:^|;)\s*q\s*=\s*([^\s;]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ThrowRequest:
    """A throw as the caller sent it; tenants, executions and permissions are not checked yet.

    Args:
        name: The signal's name; may be empty, and then matches no subscription.
        execution_id: For this execution only; then neither of the next two is set.
        tenant_id: For this tenant only; overrides *without_tenant_id*.
        without_tenant_id: For subscriptions without a tenant only.
        business_key: Carried along to the subscribers. Camunda 7 itself does not read it.
        payload: Each variable's plain value, as JSON text.
        types: What the payload does not say about its variables.
        unstorable: The answer if the signal has a receiver: Camunda cannot store a variable. Without receivers the
            signal is accepted.
    """

    name: str
    execution_id: str | None
    tenant_id: str | None
    without_tenant_id: bool
    business_key: str | None
    payload: bytes
    types: Types
    unstorable: CamundaError | None


class Entry(NamedTuple):
    """A variable as it was sent."""

    value: Any
    kind: str | None
    info: dict[str, Any] | None


def check_headers(content_type: str | None, accept: str | None) -> None:
    """Check that the body is declared as JSON and that the caller takes JSON errors.

    Raises:
        CamundaError: 415 for another content type or none, 406 for an Accept that leaves JSON out, 400 for headers
            that are not media types.
    """
    if content_type != "application/json":
        _check_content_type(content_type)
    check_accept(accept)


def parse_signal(body: bytes, *, engine: str = "default", charset: str | None = None) -> ThrowRequest:
    """Read the body of a throw.

    The checks come in Camunda's order: shape of the whole body, name, engine, each variable, execution with tenant.
    A body of length zero is ``{}``; UTF-8, 16 and 32 are told apart by their first bytes; what follows the JSON
    object, and unknown keys, are ignored.

    Args:
        body: The body as received.
        engine: The engine named in the path; there is only ``default``.
        charset: That of the content type, if it has one. Camunda ignores it; here it must not tell another text.

    Raises:
        CamundaError: The request is invalid, whatever subscriptions there are.
    """
    document = read_document(body, charset=charset)
    name = read_text(document.get("name"))
    execution_id = read_text(document.get("executionId"))
    tenant_id = read_text(document.get("tenantId"))
    without_tenant_id = read_flag(document.get("withoutTenantId"))
    business_key = read_text(document.get("businessKey"))
    entries = read_entries(document.get("variables"))
    if name is None:
        raise invalid_request("No signal name given")
    if engine != "default":
        raise unknown_engine()
    values, types, unstorable_error = convert_entries(entries)
    if execution_id is not None and (tenant_id is not None or without_tenant_id):
        raise tenant_with_execution()
    return ThrowRequest(
        name,
        execution_id,
        tenant_id,
        without_tenant_id,
        business_key,
        write_payload(values),
        types,
        unstorable_error,
    )


def convert_entries(entries: dict[str, Entry | None]) -> tuple[dict[str, Any], Types, CamundaError | None]:
    """Return the plain values of variables, what these do not say, and the answer if Camunda cannot store one of them.

    Raises:
        CamundaError: A variable is null, of no known type, or its value is not of its type.
    """
    values: dict[str, Any] = {}
    types: Types = {}
    unstorable_error = None
    for name, entry in entries.items():
        if entry is None:
            raise invalid_request(f"The variable '{name}' must be an object with a value, not null")
        if entry.kind is None and not entry.info and entry.value.__class__ is not Infinite:
            values[name] = entry.value
            continue
        try:
            variable = convert(*entry)
        except VariableTooDeep as error:
            raise invalid_request(f"Cannot set variable '{name}': {error}") from error
        except UnconvertibleVariable as error:
            raise unconvertible(error) from error
        values[name], note = plain(variable)
        if note is not None:
            types[name] = note
        reason = unstorable(variable)
        if reason is not None and unstorable_error is None:
            unstorable_error = invalid_request(f"Cannot set variable '{name}': {reason}")
    return values, types, unstorable_error


def read_document(body: bytes, *, charset: str | None) -> dict[str, Any]:
    """Return the JSON object that a body is; one of length zero is ``{}``. *charset*: that of its content type.

    Raises:
        CamundaError: It is none, or *charset* tells another text.
    """
    _check_charset(charset, body)
    return _read(body) if body else {}


def _read(body: bytes) -> dict[str, Any]:
    try:
        document = read_first(_decode(body))
    except ValueError:
        if body.strip(b" \t\r\n"):
            raise malformed() from None
        document = None
    if document is None:
        raise invalid_request('The body must be a JSON object, e.g. {"name": "policy_conditions_changed"}')
    if not isinstance(document, dict):
        raise malformed()
    return document


def _decode(body: bytes) -> str:
    encoding = "utf-8" if body.startswith(b'{"') else detect_encoding(body)
    try:
        return body.decode(encoding, "surrogatepass")
    except UnicodeDecodeError as error:
        # Only the JSON value has to be readable; Camunda never gets to what follows it.
        return error.object[: error.start].decode(encoding, "surrogatepass")


def _check_charset(charset: str | None, body: bytes) -> None:
    if charset is None or charset.lower() == "utf-8":
        return
    if charset.lower() in _LIKE_ASCII and body.isascii():
        return
    declared, found = _UNICODE.match(charset.lower()), _UNICODE.match(detect_encoding(body))
    if declared is None or found is None or declared[1] != found[1]:
        raise http_error(415)


def read_text(value: Any) -> str | None:
    """Return *value* as a text: numbers and truth values are taken as theirs, as Jackson does.

    Raises:
        CamundaError: It is a list or an object.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise malformed()


def read_flag(value: Any) -> bool:
    """Return *value* as a truth value, as Jackson does.

    Raises:
        CamundaError: It is none.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return value != 0
    if not isinstance(value, str):
        raise malformed()
    try:
        return bool(boolean(value))
    except ValueError:
        raise malformed() from None


def read_entries(variables: Any) -> dict[str, Entry | None]:
    """Return *variables* as they were sent; none if they are null.

    Raises:
        CamundaError: They do not have the shape of variables.
    """
    if variables is None:
        return {}
    if not isinstance(variables, dict):
        raise malformed()
    return {name: None if entry is None else _entry(entry) for name, entry in variables.items()}


def _entry(entry: Any) -> Entry:
    if not isinstance(entry, dict):
        raise malformed()
    info = entry.get("valueInfo")
    if info is not None and not isinstance(info, dict):
        raise malformed()
    return Entry(entry.get("value"), read_text(entry.get("type")), info)


def _check_content_type(content_type: str | None) -> None:
    if not content_type or _media_range(content_type)[:2] != _JSON:
        raise http_error(415)


def check_accept(accept: str | None) -> None:
    """Check that the caller takes JSON (RFC 9110, 12.5.1: the most specific range that covers it decides).

    Raises:
        CamundaError: 406 if not, 400 for a header that is not a list of media ranges.
    """
    if accept is None or accept == "*/*":
        return
    ranges = [_media_range(part) for part in _MEMBER.findall(accept) if part.strip()]
    qualities = {(kind, subtype): quality for kind, subtype, quality in ranges}
    for covering in (_JSON, ("application", "*"), ("*", "*")):
        if covering in qualities:
            acceptable = qualities[covering] > 0
            break
    else:
        acceptable = not ranges
    if not acceptable:
        raise http_error(406)


def _media_range(text: str) -> tuple[str, str, float]:
    """Type, subtype and quality; a lone ``*`` (as Java's own HTTP client sends) is ``*/*``."""
    match = _MEDIA_RANGE.fullmatch(_LONE_STAR.sub("*/*", text))
    if match is None:
        raise http_error(400)
    quality = _QUALITY.search(_STRING.sub("", match[3] or ""))
    try:
        return match[1].lower(), match[2].lower(), float(quality[1]) if quality else 1.0
    except ValueError:
        raise http_error(400) from None
