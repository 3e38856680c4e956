"""JSON texts from outside: read strictly and with a bounded depth, written compactly."""

from __future__ import annotations

import json
from math import inf
from typing import Any, NoReturn

import orjson

MAX_NESTING = 250
"""Levels a document may have. Python's own limit varies with the caller's stack (a little below 1000), and what one
process accepted the next one must be able to read."""

MAX_MEMBER_NESTING = MAX_NESTING - 1
"""Levels that a member of a payload may have."""


class NestedTooDeep(ValueError):
    """Raised when JSON nests deeper than it may."""

    def __init__(self) -> None:
        super().__init__("nested too deep")


class Infinite(str):
    """A JSON number beyond the range of a double: ``Infinity`` or ``-Infinity``, and written as that string."""

    __slots__ = ()


def _number(text: str) -> float | Infinite:
    value = float(text)
    if -inf < value < inf:
        return value
    return Infinite("Infinity" if value == inf else "-Infinity")


_CONTAINERS = (dict, list)  # a tuple is tested three times as fast as a union


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_float=_number, parse_constant=_refuse)
_DOUBLES = json.JSONDecoder(parse_constant=_refuse)
"""Calls nothing of ours for each number, and so is several times as fast as the other one."""
_ENCODERS = {
    f"{spacing}{escapes}": json.JSONEncoder(ensure_ascii=bool(escapes), allow_nan=False, separators=separators)
    for spacing, separators in {"compact": (",", ":"), "spaced": (", ", ": ")}.items()
    for escapes in ("", "-ascii")
}
STYLES = tuple(_ENCODERS)
"""How JSON is commonly written: with or without blanks after separators, with or without non-ASCII escaped."""


def read_first(text: str) -> Any:
    """Return the JSON value that *text* begins with (after white space); what follows it is not looked at.

    NaN and Infinity are refused, of a repeated key the last value counts.

    Raises:
        ValueError: *text* does not begin with a JSON value, or it nests deeper than `MAX_NESTING`.
    """
    return _read(text)[0]


def read(text: str, *, levels: int = MAX_NESTING) -> Any:
    """Return the one JSON value that *text* is.

    Raises:
        ValueError: As for `read_first`, but it may nest *levels* deep; or something follows the value.
    """
    value, end = _read(text, levels)
    if text[end:].strip(" \t\r\n"):
        raise ValueError("something follows the JSON value")
    return value


def check(body: bytes) -> None:
    """Check that `read` can read *body*, several times as fast as it does.

    Raises:
        ValueError: It is no JSON in UTF-8, or it nests deeper than `MAX_NESTING`.
    """
    if body.count(b"[") + body.count(b"{") <= MAX_NESTING:
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # perhaps only because of an unpaired surrogate or a number beyond a double
        else:
            return
    read(body.decode())


def nests_deeper(text: str, levels: int) -> bool:
    """Return whether *text* is JSON that nests deeper than *levels*, as far as it can be read."""
    if text.count("[") + text.count("{") <= levels:
        return False
    try:
        read(text, levels=levels)
    except NestedTooDeep:
        return True
    except ValueError:
        return False
    return False


def read_doubles(body: bytes) -> Any:
    """Return the one JSON value that *body* is, about three times as fast as `read` does.

    Integers beyond 64 bits become doubles, numbers beyond the range of a double are infinite, and it may nest deeper
    than `MAX_NESTING`.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Perhaps only because of an unpaired surrogate or a number beyond a double.
        try:
            return _DOUBLES.decode(body.decode())
        except RecursionError:
            raise NestedTooDeep from None


def write(value: Any, style: str = "compact") -> str:
    """Return *value* as JSON text in one of the `STYLES`."""
    return _ENCODERS[style].encode(value)


def encode(value: Any) -> bytes:
    """Return *value* as compact JSON in UTF-8, escaped to ASCII where it holds unpaired surrogates."""
    try:
        return write(value).encode()
    except UnicodeEncodeError:
        return write(value, "compact-ascii").encode()


def write_fast(value: Any) -> str:
    """Return *value*, which was read from JSON, as compact JSON text, several times as fast as `write` does.

    Doubles and non-ASCII characters may be written differently.
    """
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # an unpaired surrogate, an integer beyond 64 bits, or deep nesting
        return write(value, "compact-ascii")


def _read(text: str, levels: int = MAX_NESTING) -> tuple[Any, int]:
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise NestedTooDeep from None
    if text.count("[") + text.count("{") > levels and _depth(value) > levels:
        raise NestedTooDeep
    return value, end


def _depth(value: Any) -> int:
    depth, level = 0, [value] if isinstance(value, _CONTAINERS) else []
    while level:
        depth += 1
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, _CONTAINERS)
        ]
    return depth
