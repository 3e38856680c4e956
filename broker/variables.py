"""Variables of a signal: one set of values, in plain JSON and, for Camunda's clients, with types.

    payload     {"n": 5,  "due": "2026-01-31T08:00:00.000+0000"}     plain JSON; travels and is stored as text
    types       {"due": {"type": "Date"}}                            only what the payload does not say by itself
    variables   {"n":   {"value": 5, "type": "Integer", "valueInfo": {}},
                 "due": {"value": "2026-01-31T08:00:00.000+0000", "type": "Date", "valueInfo": {}}}

`split` and `typed` are inverse. The JSON text of a Json or Object variable becomes part of the payload just as it was
sent, so that consumers and filters see its value, however it is written; its note says so with ``text``. A text that
is not JSON is a string in the payload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from broker.jsonparts import raw_members
from broker.jsontext import MAX_MEMBER_NESTING, encode, read, write, write_fast

JSON_FORMAT = "application/json"

_JSON_FORMATS = re.compile(r"\s*(?:application/json|[^\s/;]+/[^\s/;]+\+json)\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)

_SCALARS = {bool: "Boolean", float: "Double", str: "String", type(None): "Null"}


class Variable(TypedDict):
    """One typed variable, in Camunda's spelling."""

    value: Any
    type: str
    valueInfo: dict[str, Any]


class Note(TypedDict):
    """What the payload's value alone does not say about a variable."""

    type: str
    valueInfo: NotRequired[dict[str, Any]]
    text: NotRequired[bool]
    """Whether the value is the JSON text that stands in the payload."""
    style: NotRequired[str]
    """The style in which 0.1.0 had to write the payload's value to get that text."""


Types = dict[str, Note]


class JsonText(str):
    """A value that is known by its JSON text."""

    __slots__ = ()


def is_json_format(data_format: str | None) -> bool:
    """Return whether *data_format* is JSON's media type, in any letter case and with parameters (RFC 9110, 8.3.1)."""
    return data_format == JSON_FORMAT or (data_format is not None and bool(_JSON_FORMATS.fullmatch(data_format)))


def infer(value: Any) -> Variable:
    """Return the typed form of a plain JSON value, as Camunda infers it.

    Integers are Integer or Long by their range. What has no simple type (longer integers, lists, objects) is an
    Object: JSON text that names the Java class Camunda would have made of it.
    """
    kind = _SCALARS.get(value.__class__)
    if kind is not None:
        return {"value": value, "type": kind, "valueInfo": {}}
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        kind = "Integer" if -(1 << 31) <= value < 1 << 31 else "Long"
        return {"value": value, "type": kind, "valueInfo": {}}
    if isinstance(value, str):
        return {"value": value, "type": "String", "valueInfo": {}}
    java = {int: "java.math.BigInteger", list: "java.util.ArrayList", dict: "java.util.LinkedHashMap"}[value.__class__]
    info = {"objectTypeName": java, "serializationDataFormat": JSON_FORMAT}
    return {"value": write(value), "type": "Object", "valueInfo": info}


def typed(payload: Any, types: Types, text: bytes) -> dict[str, Variable]:
    """Return the typed view of *payload*, which was read from *text*; without a JSON object there are no variables."""
    if not isinstance(payload, dict):
        return {}
    texts = raw_members(text) if any("text" in note for note in types.values()) else {}
    return {
        name: _restored(value, types[name], texts.get(name)) if name in types else infer(value)
        for name, value in payload.items()
    }


def split(variables: Mapping[str, Variable]) -> tuple[bytes, Types]:
    """Return (payload, types) of typed variables; `typed` makes the same variables of them again."""
    values: dict[str, Any] = {}
    types: Types = {}
    for name, variable in variables.items():
        values[name], note = plain(variable)
        if note is not None:
            types[name] = note
    return write_payload(values), types


def plain(variable: Variable) -> tuple[Any, Note | None]:
    """Return one variable's value for `write_payload`, and its note where inference would not lead back to it."""
    value = variable["value"]
    parsed = _parsed(value) if _is_json(variable) else value
    is_text = parsed is not value
    if infer(parsed) == variable:
        return parsed, None
    note: Note = {"type": variable["type"]}
    if variable["valueInfo"]:
        note["valueInfo"] = variable["valueInfo"]
    if is_text:
        note["text"] = True
    return JsonText(value) if is_text else value, note


def write_payload(values: Mapping[str, Any]) -> bytes:
    """Return plain *values* as a payload. A `JsonText` is part of it as it is, with its digits, escapes and blanks."""
    if not any(isinstance(value, JsonText) for value in values.values()):
        return write_fast(values).encode()
    members = (b"%b:%b" % (encode(name), _encode(value)) for name, value in values.items())
    return b"{%b}" % b",".join(members)


def _encode(value: Any) -> bytes:
    # UTF-8 holds no unpaired surrogate; its escape means the same in JSON.
    return value.encode(errors="backslashreplace") if isinstance(value, JsonText) else encode(value)


def _is_json(variable: Variable) -> bool:
    kind, info = variable["type"], variable["valueInfo"]
    json = kind == "Json" or (kind == "Object" and is_json_format(info.get("serializationDataFormat")))
    return json and isinstance(variable["value"], str)


def _parsed(text: str) -> Any:
    """Return what *text* means, or *text* itself if it is not JSON."""
    try:
        return read(text, levels=MAX_MEMBER_NESTING)
    except ValueError:
        return text


def _restored(value: Any, note: Note, text: str | None) -> Variable:
    if "text" in note:
        value = text
    elif "style" in note:
        value = write(value, note["style"])
    return {"value": value, "type": note["type"], "valueInfo": note.get("valueInfo", {})}
