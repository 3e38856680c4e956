"""Payloads as filters see them: texts under flat paths.

    {"a": {"b": 1}, "l": [2, {"c": true}, [3]], "n": null}

    a.b     "1"         members are joined by dots
    l[0]    "2"         elements of an array are in brackets,
    l[1].c  "true"
    l[2].0  "3"         ... but those of an array that is itself an element are not

Only what holds no more values is there: neither ``a`` nor ``l``, no empty object or array, and null counts as missing.
Dots and brackets in names are not escaped, so that two values can have one path; the later one counts.

What a path costs is bounded whatever the payload is, and what lies beyond the bounds counts as missing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Self

from broker.filters.javascript import string
from broker.filters.steps import Steps, finish
from broker.jsontext import read_doubles

ANY = "[*]"
"""In a path, any element of an array."""

MAX_ELEMENTS = 1000
"""Elements that one ``[*]`` stands for, the first ones of all arrays that are at its place."""

MAX_LOOKS = 25_000
"""Values, and names of members, that are looked at on the way to what is under one path."""

STEP_LOOKS = 300
"""So many looks are a step."""

MAX_CHARACTERS = 32_768
"""Characters of all texts under one path; a text for which there is no room any more is left out."""

_END = re.compile(r"[.\[]|\Z")
_ELEMENT = re.compile(r"\[(0|[1-9][0-9]{0,8})\]")
_NESTED_ELEMENT = re.compile(r"\.(0|[1-9][0-9]{0,8})")
_ARRAY_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")

_CONTAINERS = (dict, list)  # a tuple is tested three times as fast as a union

_Step = tuple[list[Any], int, bool]
"""Values, how much of the path led to each of them, and whether a bracket did."""


class Context:
    """A payload, read when it is first asked for; paths are looked up, and looked up once, until it is forgotten.

    No path costs more than `MAX_LOOKS`, and gives more than `MAX_CHARACTERS`, whatever the payload is. `looks` counts
    what the paths took so far.
    """

    __slots__ = ("_payload", "_root", "_texts", "looks")

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._root: Any = None
        self._texts: dict[str, tuple[str, ...]] | None = None
        self.looks = 0

    @classmethod
    def of(cls, payload: bytes) -> Self:
        """Return the JSON text *payload* as filters see it; if it is no object, it has no paths."""
        return cls(payload)

    def texts(self, path: str) -> tuple[str, ...]:
        """Return what is under *path*: one text, none if it is missing, or any number for a path with ``[*]``."""
        return finish(self.find(path))

    def texts_at_once(self, path: str) -> tuple[str, ...] | None:
        """Return what is under *path*, or None if finding it takes longer than some 100 us."""
        texts = self._known().get(path)
        if texts is None:
            try:
                next(self.find(path))
            except StopIteration as end:
                texts = end.value
        return texts

    def find(self, path: str) -> Steps[tuple[str, ...]]:
        """Return what finds what is under *path* in steps of `STEP_LOOKS`."""
        known = self._known()
        texts = known.get(path)
        if texts is None:
            leaves, looks = yield from _leaves(self._root, path)
            texts = known[path] = _fitting(leaves)
            self.looks += looks
        return texts

    def holds(self, path: str, text: str) -> bool:
        """Return whether what is under *path*, or one of it, is *text*; unlike for filters, null is ``null``."""
        self.read()
        leaves, looks = finish(_leaves(self._root, path))
        self.looks += looks
        return any(("null" if leaf is None else string(leaf)) == text for leaf in leaves)

    def _known(self) -> dict[str, tuple[str, ...]]:
        if self._texts is None:
            self.read()
            assert self._texts is not None  # noqa: S101  (it is read)
        return self._texts

    @property
    def size(self) -> int:
        """The bytes of the payload."""
        return len(self._payload)

    @property
    def is_read(self) -> bool:
        """Whether the payload is read already."""
        return self._texts is not None

    def read(self) -> None:
        """Read the payload, unless that is done: what takes longest if it is large."""
        if self._texts is None:
            self._root, self._texts = _read(self._payload), {}

    def forget(self) -> None:
        """Forget what was read of the payload; it is read again when it is next asked for."""
        self._root = self._texts = None


def _read(payload: bytes) -> Any:
    try:
        value = read_doubles(payload)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _fitting(leaves: list[Any]) -> tuple[str, ...]:
    texts: list[str] = []
    room = MAX_CHARACTERS
    for text in (string(leaf) for leaf in leaves if leaf is not None):
        if len(text) <= room:
            texts.append(text)
            room -= len(text)
    return tuple(texts)


def _leaves(root: Any, path: str) -> Steps[tuple[list[Any], int]]:
    """Return the values under *path*, the last one first (only that one without ``[*]``), and the looks it took."""
    exact, ends = ANY not in path, _ends(path)
    names: dict[int, dict[str, None]] = {}
    leaves: list[Any] = []
    steps: list[_Step] = [([root], 0, False)]
    looks = paused = 0
    while steps and not (exact and leaves):
        values, at, bracketed = steps.pop()
        looks += len(values)
        if looks - paused > STEP_LOOKS:
            yield None
            paused = looks
        if looks > MAX_LOOKS:
            break
        if at == len(path):
            leaves += [value for value in values if not isinstance(value, _CONTAINERS)]
            continue
        arrays = [value for value in values if isinstance(value, list)]
        steps += _elements(arrays, path, at, nested=bracketed) if arrays else []
        objects = [value for value in values if isinstance(value, dict)]
        # There is no dot where the path is still empty: at the top, and below an empty name there.
        start = at + 1 if at > 0 else 0
        if objects and (at == 0 or path[at] == "."):
            if start not in names:
                names[start] = {path[start:end]: None for end in ends if end >= start}
            looks += len(objects) * len(names[start]) if len(names[start]) > 1 else 0
            if looks > MAX_LOOKS:
                break
            members = _members(objects, start, names[start])
            looks += len(objects[0]) if len(objects) == 1 < len(members) else 0
            steps += members
    return leaves, looks


@lru_cache(maxsize=10_000)
def _ends(path: str) -> tuple[int, ...]:
    """Return where a name can end: before a dot, a bracket or the end; or at once, if it is empty and at the top."""
    return tuple(sorted({0, *(match.start() for match in _END.finditer(path))}))


def _members(objects: list[dict[str, Any]], start: int, names: dict[str, None]) -> list[_Step]:
    if len(names) == 1:
        (name,) = names
        return [([value[name] for value in objects if name in value], start + len(name), False)]
    found: dict[str, list[Any]] = {}
    for value in objects:
        for name in names if len(names) <= len(value) else value:
            if name in names and name in value:
                found.setdefault(name, []).append(value[name])
    if len(objects) == 1 < len(found):
        if len(objects[0]) > MAX_LOOKS:
            return []
        # Which is later matters without [*]. JavaScript has what could be an array's index before the other members.
        in_order = sorted((name for name in objects[0] if name in found), key=_is_no_index)
        return [(found[name], start + len(name), False) for name in in_order]
    return [(values, start + len(name), False) for name, values in found.items()]


def _is_no_index(name: str) -> bool:
    return _ARRAY_INDEX.fullmatch(name) is None


def _elements(arrays: list[list[Any]], path: str, at: int, *, nested: bool) -> list[_Step]:
    index = (_NESTED_ELEMENT if nested else _ELEMENT).match(path, at)
    if index is not None:
        position = int(index[1])
        return [([array[position] for array in arrays if position < len(array)], index.end(), not nested)]
    if path.startswith(ANY, at):
        return [(list(islice(chain.from_iterable(arrays), MAX_ELEMENTS)), at + len(ANY), not nested)]
    return []
