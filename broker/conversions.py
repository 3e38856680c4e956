"""Typed values: from the JSON of a request to the variable that Camunda's engine would make of it.

A value that is not of its type's Java class already is turned into Java's text of it, put between quotation marks
*unescaped* and read again as a JSON string: ``"42"`` is an Integer, ``1.0`` is not, and ``4"2`` is 4.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from math import inf, isfinite, isnan
from typing import Any

from broker import java_dates
from broker.errors import UnconvertibleVariable, UnknownType, VariableTooDeep
from broker.jsontext import MAX_MEMBER_NESTING, Infinite, nests_deeper, write
from broker.variables import Variable, infer, is_json_format

_JAVA_FORMAT = "application/x-java-serialized-object"
_BLANKS = "".join(map(chr, range(0x21)))
_NOTHING = ("", "null")
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"[+-]?\d++")
_ASCII_WHOLE = re.compile(r"[+-]?[0-9]++")
_DOUBLE = re.compile(
    r"[+-]?(?:NaN|Infinity"
    r"|(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?[fFdD]?"
    r"|0[xX](?:[0-9a-fA-F]++(?:\.[0-9a-fA-F]*+)?|\.[0-9a-fA-F]++)[pP][+-]?[0-9]++[fFdD]?)"
)
_INFINITIES = {"INF": inf, "-INF": -inf}
_BASE64 = re.compile(
    r"(?:[\x00-\x20]*+(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==))*+[\x00-\x20]*+", re.ASCII
)
_STRING = json.JSONDecoder()
_LOOSE_STRING = json.JSONDecoder(strict=False)


def java_text(value: Any) -> str:
    """Return what Java's ``String.valueOf`` makes of a JSON value."""
    if value is None or isinstance(value, bool):
        return write(value)
    if isinstance(value, float):
        return _double_text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(java_text, value))}]"
    if isinstance(value, dict):
        # One Python frame a level, as for lists: values may nest as deep as documents may.
        entries = zip(value, map(java_text, value.values()), strict=True)
        return f"{{{', '.join(map('='.join, entries))}}}"
    return str(value)


def boolean(text: str) -> bool | None:
    """Return the truth value that *text* spells, None for blank text and ``null``.

    Raises:
        ValueError: It is not a truth value.
    """
    word = text.strip(_BLANKS)
    if word in _NOTHING:
        return None
    if word not in _WORDS:
        raise ValueError(f"{text!r} is not a truth value")
    return _WORDS[word]


def convert(value: Any, kind: str | None, info: Mapping[str, Any] | None) -> Variable:
    """Return the variable that ``{"value": value, "type": kind, "valueInfo": info}`` means.

    A transient variable's ``valueInfo`` says so.

    Raises:
        UnknownType: There is no such type.
        UnconvertibleVariable: The value is not of it.
    """
    info = info or {}
    if kind is None:
        variable = infer(value)
        if isinstance(value, Infinite):
            variable["type"] = "Double"
        transient = info.get("transient") is True
    else:
        variable = _typed(value, kind, info)
        transient = info.get("transient", False)
    if transient:
        variable["valueInfo"]["transient"] = True
    return variable


def unstorable(variable: Variable) -> str | None:
    """Return why Camunda's engine could not store *variable*, None if it could.

    The engine finds this out on delivery only: a request for a signal without receivers is accepted.
    """
    kind, info = variable["type"], variable["valueInfo"]
    if kind == "Number":
        return "Number is abstract: give it as Integer, Long, Short or Double"
    if kind != "Object":
        return None
    data_format = info.get("serializationDataFormat")
    if data_format is None:
        return "An Object needs valueInfo.serializationDataFormat, e.g. application/json"
    if data_format == _JAVA_FORMAT:
        return f"Java serialization ({_JAVA_FORMAT}) is prohibited: use application/json"
    if variable["value"] is not None and "objectTypeName" not in info:
        return "An Object that is not null needs valueInfo.objectTypeName"
    return None


def _typed(value: Any, kind: str, info: Mapping[str, Any]) -> Variable:
    """Only a type's first letter may be written small or large; answers write it large."""
    name = kind[:1].lower() + kind[1:]
    kept: dict[str, str] = {}
    if name in _PRIMITIVES:
        java_class, parse = _PRIMITIVES[name]
        try:
            content = None if value is None else parse(value)
            _check_transient(info)
        except ValueError:
            message = f"Cannot convert value '{java_text(value)}' of type '{kind}' to java type {java_class}"
            raise UnconvertibleVariable(message) from None
    elif name in _STRUCTURED:
        try:
            content, kept = _STRUCTURED[name](value, kind, info)
            _check_transient(info)
        except ValueError as error:
            raise UnconvertibleVariable(str(error)) from None
    elif name:
        raise UnknownType(f"Unsupported value type '{kind}'")
    else:
        raise UnconvertibleVariable("The type of a variable must not be empty")
    return {"value": content, "type": name[0].upper() + name[1:], "valueInfo": kept}


def _check_transient(info: Mapping[str, Any]) -> None:
    if "transient" in info and not isinstance(info["transient"], bool):
        raise ValueError("The property 'transient' of valueInfo must be true or false")


def _reread(value: Any, decoder: json.JSONDecoder = _STRING) -> str:
    text: str = decoder.raw_decode(f'"{java_text(value)}"')[0]
    return text


def _double_text(value: float) -> str:
    if not isfinite(value):
        return "NaN" if isnan(value) else "Infinity" if value == inf else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():E}".partition("E")
    return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}E{int(exponent)}"


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else boolean(_reread(value))


def _whole(value: Any, *, bits: int) -> int | None:
    number = value if value.__class__ is int else _whole_number(_reread(value))
    if number is not None and not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError(f"{number} is out of range")
    return number


def _whole_number(text: str) -> int | None:
    word = text.strip(_BLANKS)
    if word in _NOTHING:
        return None
    if _WHOLE.fullmatch(word) is None or max(word) > "\uffff":
        raise ValueError(f"{text!r} is not an integer")
    return int(word)


def _double(value: Any) -> float | str | None:
    if value.__class__ is float:
        return float(value)
    number = _double_number(_reread(value))
    return number if number is None or isfinite(number) else _double_text(number)


def _double_number(text: str) -> float | None:
    if text in _INFINITIES:
        return _INFINITIES[text]
    word = text.strip(_BLANKS)
    if word in _NOTHING:
        return None
    if _DOUBLE.fullmatch(word) is None:
        raise ValueError(f"{text!r} is not a number")
    digits = word.rstrip("fFdD")
    if "x" not in digits.lower():
        return float(digits)
    try:
        return float.fromhex(digits)
    except OverflowError:
        return -inf if digits.startswith("-") else inf


def _number(value: Any) -> float | str | None:
    if not isinstance(value, bool) and isinstance(value, int | float):
        return value
    text = _reread(value)
    return _whole(text, bits=64) if _ASCII_WHOLE.fullmatch(text.strip(_BLANKS)) else _double(text)


def _string(value: Any) -> str:
    return value if value.__class__ is str else _reread(value)


def _date(value: Any) -> str | None:
    text = _reread(value).strip(_BLANKS)
    return None if text in _NOTHING else java_dates.normalize(text)


def _bytes(value: Any) -> str:
    text = _reread(value, _LOOSE_STRING)
    if _BASE64.fullmatch(text) is None:
        raise ValueError("not Base64")
    content = b"".join(map(binascii.a2b_base64, re.findall(r"[^=]+=*", text)))
    return binascii.b2a_base64(content, newline=False).decode()


def _null(value: Any) -> None:
    raise ValueError(f"{value!r} is not null")


def _serialized(value: Any, kind: str, _info: Mapping[str, Any]) -> tuple[str | None, dict[str, str]]:
    """Text stays as it is; whether it is JSON or XML at all is the receiver's business."""
    text = _text_of(value, kind)
    if kind.lower() == "json":
        _check_depth(text)
    return text, {}


def _text_of(value: Any, kind: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"Must provide 'null' or String value for value of SerializableValue type '{kind}'.")
    return value


def _check_depth(text: str | None) -> None:
    """Check that *text*, if it is JSON, can be part of a payload, where filters see it."""
    if text is not None and nests_deeper(text, MAX_MEMBER_NESTING):
        raise VariableTooDeep(f"its JSON nests deeper than {MAX_MEMBER_NESTING} levels, which is the most that is read")


def _object(value: Any, kind: str, info: Mapping[str, Any]) -> tuple[str | None, dict[str, str]]:
    text = _text_of(value, kind)
    kept = {key: info[key] for key in ("objectTypeName", "serializationDataFormat") if info.get(key) is not None}
    for key, entry in kept.items():
        if not isinstance(entry, str):
            raise ValueError(f"valueInfo.{key} of an Object must be a string")  # noqa: TRY004
    if is_json_format(kept.get("serializationDataFormat")):
        _check_depth(text)
    return text, kept


def _file(value: Any, _kind: str, info: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The content stays the Base64 text that was sent; Camunda decodes it leniently, never refusing any."""
    if info.get("filename") is None:
        raise ValueError("A File needs a name in valueInfo.filename")
    if not isinstance(value, str):
        raise ValueError("The value of a File must be its content, as a Base64 string")  # noqa: TRY004
    kept = {key: info[key] for key in ("filename", "mimeType", "encoding") if key in info}
    for key, entry in kept.items():
        if entry is None:
            raise ValueError(f"valueInfo.{key} of a File must not be null; leave it out instead")
    return value, {key: java_text(entry) for key, entry in kept.items()}


_PRIMITIVES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "boolean": ("java.lang.Boolean", _boolean),
    "bytes": ("[B", _bytes),
    "date": ("java.util.Date", _date),
    "double": ("java.lang.Double", _double),
    "integer": ("java.lang.Integer", partial(_whole, bits=32)),
    "long": ("java.lang.Long", partial(_whole, bits=64)),
    "null": ("javax.lang.model.type.NullType", _null),
    "number": ("java.lang.Number", _number),
    "short": ("java.lang.Short", partial(_whole, bits=16)),
    "string": ("java.lang.String", _string),
}
_STRUCTURED: dict[str, Callable[[Any, str, Mapping[str, Any]], tuple[str | None, dict[str, str]]]] = {
    "file": _file,
    "json": _serialized,
    "object": _object,
    "xml": _serialized,
}
