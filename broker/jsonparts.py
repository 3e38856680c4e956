"""Parts of JSON texts, byte for byte as they were sent."""

from __future__ import annotations

import re
from json import JSONDecoder

_BLANKS = " \t\n\r"
_SPACE = re.compile(f"[{_BLANKS}]*")
_DECODER = JSONDecoder()


def raw_member(body: bytes, name: str) -> bytes | None:
    """Return the member *name* of the JSON object *body* byte for byte as it was sent, or None without one.

    *body* is known to be valid JSON. The last one counts where a name is repeated, as for every reader here.
    """
    found = raw_members(body).get(name)
    return None if found is None else found.strip(_BLANKS).encode()


def raw_members(body: bytes) -> dict[str, str]:
    """Return the members of the JSON object *body*, known to be valid, as they were sent, with the blanks around each.

    The last one counts where a name is repeated, as for every reader here.
    """
    text = body.decode().removeprefix("\ufeff")
    position = _skip(text, _skip(text, 0) + 1)  # past the opening brace
    found = {}
    while text[position] == '"':
        key, position = _DECODER.raw_decode(text, position)
        start = _skip(text, position) + 1  # past the colon
        _, end = _DECODER.raw_decode(text, _skip(text, start))
        found[key] = text[start : _skip(text, end)]
        position = _next(text, end)
    return found


def raw_elements(array: bytes) -> list[bytes]:
    """Return the elements of the JSON *array*, known to be valid, byte for byte as they were sent."""
    text = array.decode()
    position = _skip(text, _skip(text, 0) + 1)  # past the opening bracket
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
    if text[position] not in _BLANKS:  # as between most tokens
        return position
    match = _SPACE.match(text, position)
    return position if match is None else match.end()
