"""Mustache (https://mustache.github.io) for untrusted templates: bounded, and no value can leave its place.

There are no partials, no other delimiters, no unescaped variables and no lambdas. A line with nothing but
sections and comments is removed, as in mustache.js, with which Unleash renders its templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NESTING_LIMIT = 10
"""The maximum depth of sections within sections."""

_KINDS = "#^/!>=&{"
_CLOSING = {"{": "}}}"}
_SPACE = " \t\n\r\f\v"


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: the path of a value."""

    path: str


@dataclass(frozen=True, slots=True)
class Section:
    """A section: rendered once per element of a list, once if the value is present, or *inverted* if it is absent."""

    path: str
    inverted: bool
    parts: list[Part]


Part = str | Variable | Section


class Malformed(ValueError):
    """Raised when a text is not a template; the message says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class _Tag:
    kind: str
    path: str
    start: int


def parse(template: str) -> list[Part]:
    """Return the texts, variables and sections of *template*.

    Raises:
        Malformed: A tag or a section is not closed, or there is a tag that no template may have.
    """
    outer: list[tuple[Section, _Tag, list[Part]]] = []
    parts: list[Part] = []
    for token in _without_lines_of_tags(_tokens(template)):
        match token:
            case str() if parts and isinstance(parts[-1], str):
                parts[-1] += token
            case str():
                parts.append(token)
            case _Tag(kind="", path=path):
                parts.append(Variable(path))
            case _Tag(kind="#" | "^" as kind, path=path):
                section = Section(path, inverted=kind == "^", parts=[])
                parts.append(section)
                outer.append((section, token, parts))
                parts = section.parts
                if len(outer) > NESTING_LIMIT:
                    raise Malformed(f"nests sections deeper than {NESTING_LIMIT}")
            case _Tag(kind="/", path=path):
                if not outer or outer[-1][0].path != path:
                    raise _malformed("Unopened section", template, token.start)
                parts = outer.pop()[2]
    if outer:
        raise _malformed("Unclosed section", template, outer[-1][1].start)
    return parts


def _tokens(template: str) -> Iterator[str | _Tag]:
    """Yield the tags, and the text between them in pieces that end with a line."""
    position = 0
    while (start := template.find("{{", position)) >= 0:
        yield from _lines(template[position:start])
        kind = template[start + 2 : start + 3]
        kind = kind if kind in _KINDS else ""
        closing = _CLOSING.get(kind, "}}")
        end = template.find(closing, start + 2 + len(kind))
        if end < 0:
            raise _malformed("Unclosed token", template, start)
        path = template[start + 2 + len(kind) : end].strip(_SPACE)
        match kind:
            case ">" | "=":
                raise Malformed("has a tag {{> or {{=: there is nothing to include or to change")
            case "{" | "&":
                raise Malformed(f"must be {{{{{path}}}}}: values are always escaped as their place requires")
        yield _Tag(kind, path, start)
        position = end + len(closing)
    yield from _lines(template[position:])


def _lines(text: str) -> list[str]:
    """Return *text* in up to three pieces: the end of its first line, whole lines, and the start of its last one."""
    first, last = text.find("\n") + 1, text.rfind("\n") + 1
    return [piece for piece in (text[:first], text[first:last], text[last:]) if piece]


def _without_lines_of_tags(tokens: Iterable[str | _Tag]) -> Iterator[str | _Tag]:
    """Yield *tokens* without the white space of lines that consist of other tags than variables."""
    line: list[str | _Tag] = []
    for token in tokens:
        line.append(token)
        if isinstance(token, str) and token.endswith("\n"):
            yield from _stripped(line)
            line = []
    yield from _stripped(line)


def _stripped(line: list[str | _Tag]) -> Iterable[str | _Tag]:
    tags = [token for token in line if isinstance(token, _Tag)]
    blank = all(token.isspace() if isinstance(token, str) else token.kind for token in line)
    return tags if tags and blank else line


def _malformed(what: str, template: str, start: int) -> Malformed:
    end = template.find("}}", start) + 2 if what.endswith("section") else None
    line, column = template.count("\n", 0, start) + 1, start - template.rfind("\n", 0, start)
    return Malformed(f"is not a template: {what} {template[start:end]!r} at line {line} column {column}")


def render(
    parts: Sequence[Part],
    scopes: Sequence[Any],
    find: Callable[[Sequence[Any], str], Any],
    insert: Callable[[Any], str],
) -> Iterator[str]:
    """Yield the rendered pieces of *parts*, lazily; no piece is empty.

    Args:
        parts: What `parse` returned.
        scopes: What the paths are looked up in, the innermost last.
        find: Returns the value that a path leads to in scopes; None is nothing.
        insert: Returns a variable's value as text.
    """
    for part in parts:
        match part:
            case str():
                yield part
            case Variable(path):
                if text := insert(find(scopes, path)):
                    yield text
            case Section(path, inverted, inner):
                for scope in _rounds(find(scopes, path), inverted=inverted):
                    yield from render(inner, [*scopes, scope], find, insert)


def _rounds(value: Any, *, inverted: bool) -> Iterable[Any]:
    """Return the scopes in which the section of *value* is rendered, one per rendering."""
    if isinstance(value, list) and value and not inverted:
        return value
    is_there = bool(value) or isinstance(value, Mapping)
    return [value] if is_there != inverted else []
