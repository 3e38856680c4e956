"""Request bodies of the native dialect: JSON read strictly, validated by a model, every error with its pointer."""

from __future__ import annotations

import json
import re
from json.decoder import JSONDecoder, scanstring  # type: ignore[attr-defined]
from typing import Any, TypeVar

from aiohttp import web
from pydantic import ValidationError

from broker.errors import InvalidField
from broker.jsontext import read
from gateway.dialects import read_body
from gateway.http_errors import BadRequest, UnsupportedMediaType
from gateway.schemas import Schema

D = TypeVar("D", bound=Schema)

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = JSONDecoder()


async def read_json(request: web.Request, limit: int) -> bytes:
    """Return the body of a request that says it is JSON (or says nothing of its type).

    Raises:
        UnsupportedMediaType: It says it is something else.
        TooLarge: It has more than *limit* bytes.
    """
    kind = request.content_type if "Content-Type" in request.headers else "application/json"
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(f"The body is {kind}; this path reads application/json.")
    return await read_body(request, limit)


def parse(model: type[D], body: bytes) -> D:
    """Return *body* as a *model*.

    Raises:
        BadRequest: It is not JSON (UTF-8, at most 250 levels deep, no NaN), or not what the model allows.
    """
    try:
        value = read(body.decode().removeprefix("\ufeff"))
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error
    return validate(model, value)


def validate(model: type[D], value: object) -> D:
    """Return *value*, JSON as Python has it, as a *model*.

    Raises:
        BadRequest: It is not what the model allows; `errors` holds every field that is wrong.
    """
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        errors = [InvalidField(_pointer(e["loc"], value), _sentence(e)) for e in error.errors(include_url=False)]
        raise BadRequest("; ".join(map(str, errors[:5])), errors=errors[:50]) from error


def _pointer(location: tuple[int | str, ...], value: Any) -> str:
    """Return *location* in *value* as a JSON pointer: without the names of variants, which pydantic puts in between."""
    pointer = ""
    for position, part in enumerate(location):
        is_there = (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int))
        if is_there or position == len(location) - 1:
            pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
        value = value[part] if is_there else value
    return pointer


def _sentence(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "is not a member that this document knows"
        case "missing":
            return "is required"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return str(error["msg"])


def raw_member(body: bytes, name: str) -> bytes | None:
    """Return the member *name* of the JSON object *body* byte for byte as it was sent, or None without one.

    *body* is known to be valid JSON. The last one counts where a name is repeated, as for every reader here.
    """
    text = body.decode().removeprefix("\ufeff")
    position = _skip(text, _skip(text, 0) + 1)  # past the opening brace
    found = None
    while text[position] == '"':
        key, position = scanstring(text, position + 1, True)
        start = _skip(text, _skip(text, position) + 1)  # past the colon
        _, end = _DECODER.raw_decode(text, start)
        if key == name:
            found = text[start:end]
        position = _next(text, end)
    return None if found is None else found.encode()


def raw_elements(array: bytes) -> list[bytes]:
    """Return the elements of the JSON *array*, known to be valid, byte for byte as they were sent."""
    text = array.decode()
    position = _skip(text, 1)  # past the opening bracket
    found = []
    while text[position] != "]":
        _, end = _DECODER.raw_decode(text, position)
        found.append(text[position:end].encode())
        position = _next(text, end)
    return found


def _next(text: str, end: int) -> int:
    """Return where the next member or element begins, or the closing bracket stands, after the one that ended."""
    position = _skip(text, end)
    return _skip(text, position + 1) if text[position] == "," else position


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()


def dump(document: Schema) -> bytes:
    """Return *document* as JSON."""
    return json.dumps(document.model_dump(mode="json", by_alias=True), separators=(",", ":")).encode()
