"""Variables of a signal: one set of values, in plain JSON and, for Camunda's clients, with types.

    payload     {"n": 5,  "due": "2026-01-31T08:00:00.000+0000"}     plain JSON; travels and is stored as text
    types       {"due": {"type": "Date"}}                            only what the payload does not say by itself
    variables   {"n":   {"value": 5, "type": "Integer", "valueInfo": {}},
                 "due": {"value": "2026-01-31T08:00:00.000+0000", "type": "Date", "valueInfo": {}}}

`split` and `typed` are inverse. The JSON text of a Json or Object variable is parsed in the payload if one of the
`STYLES` writes it back exactly, and the note's ``style`` says which; any other text (indented, broken) stays text.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from broker.jsontext import STYLES, read, write

JSON_FORMAT = "application/json"

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
    style: NotRequired[str]


Types = dict[str, Note]


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


def typed(payload: Any, types: Types) -> dict[str, Variable]:
    """Return the typed view of *payload*; a payload that is no JSON object has no variables."""
    if not isinstance(payload, dict):
        return {}
    return {name: _restored(value, types[name]) if name in types else infer(value) for name, value in payload.items()}


def split(variables: dict[str, Variable]) -> tuple[dict[str, Any], Types]:
    """Return (payload, types) of typed variables; `typed` makes the same variables of them again."""
    payload: dict[str, Any] = {}
    types: Types = {}
    for name, variable in variables.items():
        payload[name], note = plain(variable)
        if note is not None:
            types[name] = note
    return payload, types


def plain(variable: Variable) -> tuple[Any, Note | None]:
    """Return one variable's value in the payload, and its note where inference would not lead back to it."""
    value, style = _parsed(variable) if _is_json(variable) else (variable["value"], None)
    if infer(value) == variable:
        return value, None
    note: Note = {"type": variable["type"]}
    if variable["valueInfo"]:
        note["valueInfo"] = variable["valueInfo"]
    if style is not None:
        note["style"] = style
    return value, note


def _is_json(variable: Variable) -> bool:
    kind, info = variable["type"], variable["valueInfo"]
    json = kind == "Json" or (kind == "Object" and info.get("serializationDataFormat") == JSON_FORMAT)
    return json and isinstance(variable["value"], str)


def _parsed(variable: Variable) -> tuple[Any, str | None]:
    text = variable["value"]
    try:
        value = read(text)
    except ValueError:
        return text, None
    style = next((style for style in STYLES if write(value, style) == text), None)
    return (text, None) if style is None else (value, style)


def _restored(value: Any, note: Note) -> Variable:
    text = write(value, note["style"]) if "style" in note else value
    return {"value": text, "type": note["type"], "valueInfo": note.get("valueInfo", {})}
