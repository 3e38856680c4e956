"""Templates: a webhook's URL, headers and body are made from a signal with Mustache.

| in | a value becomes | missing or null |
|---|---|---|
| JSON, inside of a string | its text, escaped as JSON asks for | nothing |
| JSON, outside of strings | the value as JSON | ``null`` |
| a form | its text, percent-encoded | nothing |
| plain text | its text | nothing |
| a header | its text, of which printable ASCII is left | nothing |
| a URL | its text, percent-encoded | the request is not made |

The text of a number, an array or an object is its JSON. So whatever a payload holds, it stays within its place: no
value ends the string, the header or the part of a path that it was put into.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from broker.egress import HEADER_VALUE_LIMIT, URL_LIMIT
from broker.errors import InvalidField, Unrenderable
from broker.jsontext import encode, read
from broker.mustache import Malformed, Part, Section, Variable, parse, render

TEMPLATE_LIMIT = 16 * 1024
"""The maximum length of a body's template, in characters."""
BODY_LIMIT = 1024 * 1024
"""The maximum size of a rendered body, in bytes."""
STEPS_LIMIT = 20_000
"""The maximum number of look-ups and pieces of one rendering: sections over arrays multiply."""

MEMBERS = frozenset(
    {
        "id",
        "name",
        "scope",
        "tenantId",
        "executionId",
        "createdAt",
        "businessKey",
        "payload",
        "variables",
        "deliveryId",
        "attempt",
        "subscriptionId",
    }
)
"""The names that a template can use: the members of what a webhook receives."""

JSON = "application/json"
_MEDIA_TYPE = re.compile(
    r"(?P<json>application/(?:[\w.-]+\+)?json)|(?P<form>application/x-www-form-urlencoded)|text/plain", re.IGNORECASE
)
_CHARSET = re.compile(r"\s*charset\s*=\s*\"?utf-8\"?\s*", re.IGNORECASE)
_HEAD_OF_URL = re.compile(r"https?://[^/?#{}]+/", re.IGNORECASE)
_SEPARATOR = re.compile(r"[/\\]")
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")
_JSON_MARKS = re.compile(r'\\.?|"', re.DOTALL)

_parse = lru_cache(maxsize=100)(parse)

Context = Mapping[str, Any]
"""The members by name, as JSON values."""
_Insert = Callable[[Any], str]


def is_template(text: str) -> bool:
    """Return whether *text* has anything to replace."""
    return "{{" in text


def check_template(text: str, pointer: str) -> None:
    """Accept *text* as a template, or as a text with nothing to replace.

    Raises:
        InvalidField: At *pointer*: it is too long, a tag or a section is not closed, or it names what no signal has.
    """
    if len(text) > TEMPLATE_LIMIT:
        raise InvalidField(pointer, f"must have at most {TEMPLATE_LIMIT} characters")
    try:
        text.encode()
        parts = parse(text)
    except UnicodeEncodeError as error:
        raise InvalidField(pointer, f"is not a template: {str(error)[:200]}") from error
    except Malformed as error:
        raise InvalidField(pointer, str(error)[:200]) from error
    _check_names(parts, pointer, outside=True)


def _check_names(parts: Sequence[Part], pointer: str, *, outside: bool) -> None:
    for part in parts:
        match part:
            case Variable(path):
                _check_name(path, pointer, outside=outside)
            case Section(path, _, inner):
                _check_name(path, pointer, outside=outside)
                if not inner:  # its rounds would not count as steps
                    raise InvalidField(pointer, f"the section {path} is empty")
                _check_names(inner, pointer, outside=False)


def _check_name(name: str, pointer: str, *, outside: bool) -> None:
    """Accept *name*; within a section any name may be a member of the section's value."""
    first = name.partition(".")[0]
    if not name or (outside and first not in MEMBERS):
        raise InvalidField(pointer, f"{{{{{name}}}}}: must begin with one of {', '.join(sorted(MEMBERS))}")


def check_url_template(url: str, pointer: str) -> str:
    """Return *url* with a stand-in for each value, if no value can be part of its host.

    Raises:
        InvalidField: At *pointer*: as for `check_template`, or something before the path would be replaced.
    """
    check_template(url, pointer)
    if is_template(url) and not _HEAD_OF_URL.match(url):
        raise InvalidField(pointer, "values can be inserted only after the host and the slash that follows it")
    return _render(url, {}, lambda _: "0", limit=URL_LIMIT)


def check_content_type(content_type: str, pointer: str) -> None:
    """Accept *content_type* as the type of a body made from a template.

    Raises:
        InvalidField: At *pointer*: the escaping of values in such a body is not known.
    """
    kind, _, parameter = content_type.partition(";")
    if not _MEDIA_TYPE.fullmatch(kind.rstrip()) or not (parameter == "" or _CHARSET.fullmatch(parameter)):
        allowed = f"{JSON}, application/...+json, application/x-www-form-urlencoded or text/plain"
        raise InvalidField(pointer, f"must be {allowed}, in UTF-8")


def render_body(template: str, content_type: str, context: Context) -> bytes:
    """Return the body of *content_type* that *template* makes from *context*; an empty one is allowed even as JSON.

    Raises:
        Unrenderable: It would have more than 1 MiB or take too long, or it should be JSON and is not.
    """
    kind = _MEDIA_TYPE.match(content_type)
    if kind is None or kind["json"] is None:
        insert = _percent_encoded if kind is not None and kind["form"] else _text
        return _render(template, context, insert, limit=BODY_LIMIT).encode(errors="replace")
    place = _JsonPlace()
    text = _render(template, context, place.insert, limit=BODY_LIMIT, follow=place.follow)
    try:
        if text:
            read(text)
    except ValueError as error:
        raise Unrenderable(f"the body is not JSON: {error}") from error
    return text.encode()


def render_header(template: str, context: Context) -> str:
    """Return the header's value that *template* makes from *context*.

    Raises:
        Unrenderable: It would have more than 1024 characters.
    """
    return _render(template, context, _printable, limit=HEADER_VALUE_LIMIT).strip()


def render_url(template: str, context: Context) -> str:
    """Return the URL that *template* makes from *context*.

    Raises:
        Unrenderable: A value is missing or empty, or leads out of its part of the path; or the URL is too long.
    """
    url = _render(template, context, _part_of_url, limit=URL_LIMIT)
    if is_template(template) and any(map(_leads_elsewhere, url.partition("?")[0].split("/"))):
        raise Unrenderable("a value makes the URL's path lead elsewhere")
    return url


def _leads_elsewhere(segment: str) -> bool:
    r"""Return whether a server might read *segment* of a path as ``.`` or ``..``, or as having one within it.

    Many servers decode a path before they split it, take ``\\`` for ``/``, or drop what follows a ``;``.
    """
    return any(part.partition(";")[0] in {".", ".."} for part in _SEPARATOR.split(unquote(segment)))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else encode(value).decode()


def _printable(value: Any) -> str:
    return _NOT_PRINTABLE.sub("", _text(value))


def _percent_encoded(value: Any) -> str:
    return quote(_text(value), safe="", errors="replace")


def _part_of_url(value: Any) -> str:
    text = _percent_encoded(value)
    if not text:
        raise Unrenderable("a value of the URL is missing or empty")
    return text


class _JsonPlace:
    """The place of the next value in a JSON text: inside a string or outside."""

    def __init__(self) -> None:
        self._inside = False
        self._escaping = False

    def follow(self, text: str) -> None:
        """Advance to the end of *text*."""
        start, self._escaping = int(self._escaping), False
        for mark in _JSON_MARKS.finditer(text, start):
            if mark[0] == '"':
                self._inside = not self._inside
            self._escaping = mark[0] == "\\"

    def insert(self, value: Any) -> str:
        """Return *value* as this place requires it."""
        if self._escaping:
            raise Unrenderable("a value follows a backslash")
        return encode(_text(value)).decode()[1:-1] if self._inside else encode(value).decode()


def _render(
    template: str, context: Context, insert: _Insert, *, limit: int, follow: Callable[[str], None] = lambda _: None
) -> str:
    """Return *template* with its values inserted; *follow* gets each piece before the next one is made."""
    steps = 0

    def count(more: int) -> None:
        nonlocal steps
        steps += more
        if steps > STEPS_LIMIT:
            raise Unrenderable(f"the template takes more than {STEPS_LIMIT} steps")

    def find(scopes: Sequence[Any], path: str) -> Any:
        names = path.split(".")
        count(len(names) + len(scopes) - 1)
        return scopes[-1] if path == "." else _find(scopes, names)

    pieces, size = [], 0
    for piece in render(_parse(template), [context], find, insert):
        count(1)
        follow(piece)
        pieces.append(piece)
        size += len(piece.encode(errors="replace"))
        if size > limit:
            raise Unrenderable(f"what the template makes has more than {limit} bytes")
    return "".join(pieces)


def _find(scopes: Sequence[Any], names: Sequence[str]) -> Any:
    """Return the value at *names* in the innermost of *scopes* that has the first name; None if there is none."""
    value = next((scope for scope in reversed(scopes) if isinstance(scope, Mapping) and names[0] in scope), None)
    for name in names:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and len(name) < 8 and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
