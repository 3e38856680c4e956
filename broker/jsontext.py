"""JSON texts from outside: read strictly and with a bounded depth, written compactly."""

from __future__ import annotations

import json
import sys
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


_INTEGER_DIGITS = sys.get_int_max_str_digits()
"""Most digits that Python reads as an integer; JSON has no such limit."""


def _integer(text: str) -> int | float | Infinite:
    return int(text) if len(text) <= _INTEGER_DIGITS else _number(text)


def _short_integer(text: str) -> int:
    if len(text.lstrip("-")) > _INTEGER_DIGITS:
        raise ValueError(f"an integer has more than {_INTEGER_DIGITS} digits")
    return int(text)


def _double(text: str) -> int | float:
    return int(text) if len(text) <= _INTEGER_DIGITS else float(text)


_BLANKS = " \t\r\n"
_CONTAINERS = (dict, list)  # a tuple is tested three times as fast as a union


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_float=_number, parse_constant=_refuse)
_DOUBLES = json.JSONDecoder(parse_constant=_refuse)
"""Calls nothing of ours for each number, and so is several times as fast as the other one."""
_WITH_LONG_INTEGERS = json.JSONDecoder(parse_float=_number, parse_int=_integer, parse_constant=_refuse)
_WITHOUT_LONG_INTEGERS = json.JSONDecoder(parse_float=_number, parse_int=_short_integer, parse_constant=_refuse)
_DOUBLES_WITH_LONG_INTEGERS = json.JSONDecoder(parse_int=_double, parse_constant=_refuse)
_ENCODERS = {
    f"{spacing}{escapes}": json.JSONEncoder(ensure_ascii=bool(escapes), allow_nan=False, separators=separators)
    for spacing, separators in {"compact": (",", ":"), "spaced": (", ", ": ")}.items()
    for escapes in ("", "-ascii")
}
STYLES = tuple(_ENCODERS)
"""How JSON is commonly written: with or without blanks after separators, with or without non-ASCII escaped."""


def read_first(text: str) -> Any:
    """Return the JSON value that *text* begins with (after white space); what follows it is not looked at.

    NaN, Infinity and integers of more digits than Python reads are refused, of a repeated key the last value counts.

    Raises:
        ValueError: *text* does not begin with a JSON value, or it nests deeper than `MAX_NESTING`.
    """
    return _read(text, long_integers=False)[0]


def read(text: str, *, levels: int = MAX_NESTING, long_integers: bool = True) -> Any:
    """Return the one JSON value that *text* is.

    With *long_integers*, those of more digits than Python reads count as doubles; otherwise they are refused.

    Raises:
        ValueError: As for `read_first`, but it may nest *levels* deep; or something follows the value.
    """
    value, end = _read(text, levels, long_integers=long_integers)
    if text[end:].strip(_BLANKS):
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
            text = body.decode()
            value, end = _decode(_DOUBLES, _DOUBLES_WITH_LONG_INTEGERS, text, len(text) - len(text.lstrip(_BLANKS)))
        except RecursionError:
            raise NestedTooDeep from None
        if text[end:].strip(_BLANKS):
            raise ValueError("something follows the JSON value") from None
        return value


def resolve_escapes(text: str) -> str:
    """Return the JSON *text* with the characters that its escapes stand for; it need not be JSON any more."""
    if "\\" not in text:
        return text
    # Now it is itself the inside of a string: with backslashes and quotes that only escapes stand for.
    inside = text.replace(r"\\", r"\u005c").replace(r"\"", r"\u0022").replace('"', r"\u0022")
    return str(json.loads(f'"{inside}"', strict=False))


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


def _read(text: str, levels: int = MAX_NESTING, *, long_integers: bool = True) -> tuple[Any, int]:
    start = len(text) - len(text.lstrip(_BLANKS))
    try:
        value, end = _decode(_DECODER, _WITH_LONG_INTEGERS if long_integers else _WITHOUT_LONG_INTEGERS, text, start)
    except RecursionError:
        raise NestedTooDeep from None
    if text.count("[") + text.count("{") > levels and _depth(value) > levels:
        raise NestedTooDeep
    return value, end


def _decode(decoder: json.JSONDecoder, slower: json.JSONDecoder, text: str, start: int) -> tuple[Any, int]:
    """Decode the value at *start* with *decoder*, or with the *slower* one if Python refuses an integer's length."""
    try:
        return decoder.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return slower.raw_decode(text, start)


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
