"""Form bodies with nested names, as Express reads them (body-parser 1.x, ``extended``): ``a[b][]=1``.

| form | payload |
|---|---|
| ``a=1&b=`` | ``{"a": "1", "b": ""}`` |
| ``a=1&a=2``, ``a[]=1&a[]=2``, ``a[1]=2&a[0]=1`` | ``{"a": ["1", "2"]}`` |
| ``a[b][c]=1`` | ``{"a": {"b": {"c": "1"}}}`` |
| ``a[0]=1&a[b]=2`` | ``{"a": {"0": "1", "b": "2"}}`` |
| ``a=1&a[b]=2`` | ``{"a": ["1", {"b": "2"}]}`` |
"""

from __future__ import annotations

import re
from itertools import count, zip_longest
from typing import Any, NamedTuple
from urllib.parse import unquote

from gateway.http_errors import BadRequest, TooLarge

MAX_PARAMETERS = 1000
MAX_DEPTH = 32
MIN_INDEXES = 100
"""Indexes below this, or below the number of parameters, make a list; higher ones are names like any other."""

_BRACKETS = {"%5b": "[", "%5d": "]"}
_BRACKET = re.compile("%5[bd]", re.IGNORECASE)
_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INDEX = re.compile(r"0|[1-9][0-9]{0,3}")


class Form(NamedTuple):
    """A form: the object that it stands for, and how many of its parameters that does not hold, or not whole."""

    payload: dict[str, Any]
    lost: int


class _Node:
    """The value of one name: texts, in the order in which they came, or named nodes, or both."""

    def __init__(self) -> None:
        self.parts: list[str | dict[str, _Node]] = []

    @property
    def children(self) -> dict[str, _Node]:
        for part in self.parts:
            if isinstance(part, dict):
                return part
        self.parts.append({})
        return self.children

    def value(self, indexes: int) -> Any:
        """Return it as JSON; it is a list if all names are numbers below *indexes*."""
        values: list[Any] = []
        for part in self.parts:
            if isinstance(part, str):
                values.append(part)
            elif part and all(_INDEX.fullmatch(name) and int(name) < indexes for name in part):
                items = [part[name].value(indexes) for name in sorted(part, key=int)]
                if len(self.parts) == 1:
                    return items
                values.extend(items)
            else:
                values.append({name: child.value(indexes) for name, child in part.items()})
        return values[0] if len(values) == 1 else values


def parse_form(text: str, charset: str = "utf-8") -> Form:
    """Return the form in *text*; what is percent-encoded in it is in *charset*.

    A name without a value is an empty text. What is not validly encoded stays as it is. Lost are a value without a
    name, ``__proto__``, and the text between a closing bracket and the next one.

    Raises:
        TooLarge: It has more than `MAX_PARAMETERS`.
        BadRequest: A name has more than `MAX_DEPTH` brackets.
    """
    parameters = text.split("&")
    if len(parameters) > MAX_PARAMETERS:
        raise TooLarge("too many parameters")
    root, lost = _Node(), 0
    for parameter in parameters:
        name, value = _split(_BRACKET.sub(lambda match: _BRACKETS[match[0].lower()], parameter))
        segments, is_whole = _segments(_decode(name, charset))
        is_put = _put(root, segments, _decode(value, charset))
        lost += not (is_put and is_whole)
    indexes = max(MIN_INDEXES, len(parameters))
    return Form({name: child.value(indexes) for name, child in root.children.items()}, lost)


def _split(parameter: str) -> tuple[str, str]:
    """Return name and value; an equals sign within brackets belongs to the name."""
    end = parameter.find("]=") + 1 or parameter.find("=")
    return (parameter, "") if end < 0 else (parameter[:end], parameter[end + 1 :])


def _decode(text: str, charset: str) -> str:
    text = text.replace("+", " ")
    if _MALFORMED.search(text) and charset == "utf-8":
        return text
    try:
        return unquote(text, charset, "strict")
    except UnicodeDecodeError:
        return text


def _segments(name: str) -> tuple[list[str], bool]:
    """Return ``a``, ``b`` and the empty text for ``a[b][]``, and whether that is all of the name.

    Brackets nest, and an unclosed one is part of the name. Text between a closing bracket and the next one is left out.
    """
    start = name.find("[")
    if start < 0:
        start = len(name)
    segments, is_whole = [name[:start]] if start else [], True
    for depth in count():
        if start == len(name):
            break
        if depth == MAX_DEPTH:
            raise BadRequest("The input exceeded the depth")
        end = _closing(name, start)
        if end < 0:
            segments.append(name[start:])
            break
        segments.append(name[start + 1 : end])
        following = name.find("[", end)
        start = len(name) if following < 0 else following
        is_whole = is_whole and start == end + 1
    return segments, is_whole


def _closing(name: str, start: int) -> int:
    level = 0
    for position in range(start, len(name)):
        level += {"[": 1, "]": -1}.get(name[position], 0)
        if level == 0:
            return position
    return -1


def _put(root: _Node, segments: list[str], value: str) -> bool:
    """Put *value* where *segments* lead, and return whether they do. An empty text adds nothing to a structure."""
    node = root
    for segment, following in zip_longest(segments, segments[1:]):
        children = node.children
        if segment == "__proto__":
            return False
        if segment == "" and following is not None and (following == "" or _INDEX.fullmatch(following)):
            continue  # `[]` before another `[]` or an index adds no level
        node = children.setdefault(segment or _index(children, is_last=following is None), _Node())
    if segments and (value or not any(isinstance(part, dict) for part in node.parts)):
        node.parts.append(value)
    return bool(segments or not value)


def _index(children: dict[str, _Node], *, is_last: bool) -> str:
    """Return the index of ``[]``: the next free one for a text, 0 for a structure."""
    if not is_last or "0" not in children:
        return "0"
    return next(str(index) for index in count(len(children)) if str(index) not in children)
