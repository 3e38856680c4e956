"""SQL as SQL: named, described statements, read from the ``.sql`` file beside the module that runs them.

A file holds statements like this one, and a class beside it declares them::

    -- name: get
    -- The signal with that id.
    SELECT * FROM signals WHERE id = :signal_id;

    class _Sql(Statements, file="signals.sql"):
        get: Statement

    row = await database.fetchrow(_Sql.get, signal_id=7)

The import of the module fails unless the file and the class have the same statements. A missing or unknown parameter is
a `TypeError`, and tests/unit/test_statements.py checks every call. ``{locks.NUMBERING}`` stands for the number of that
lock in `broker.store.postgres.locks`, and ``{parts.sums}`` for what follows ``-- part: sums`` in the file: several
statements share it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from inspect import get_annotations
from typing import Any, ClassVar

from broker.store.postgres import locks

_BEGINNING = re.compile(r"^-- (name|part): (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)
_IDENTIFIER = re.compile(r"\{([a-z_]+)\}")
_LOCK = re.compile(r"\{locks\.([A-Z_]+)\}")
_PART = re.compile(r"\{parts\.(\w+)\}")
_SEQUENCE = re.compile(r"\bnextval\('([^']+)'\)")
_PARAMETER = re.compile(r"(?<![:\w]):([a-z]\w*)")


def sparse(column: list[Any]) -> list[Any]:
    """Return *column*, or no elements if all are None: an ``unnest`` beside longer arrays fills it up with NULLs.

    asyncpg looks twice at each element of an array, and PostgreSQL once more.
    """
    return [] if column.count(None) == len(column) else column


class Statement:
    """One statement; its parameters have names, written ``:name``.

    Attributes:
        name: The file and the name, for errors.
        sql: The text for PostgreSQL, with ``$1`` and so on in place of the parameters.
        parameters: The names of the parameters, in the order of the numbers.
        identifiers: The names in braces, which `naming` fills in.
        sequences: The sequences that it takes numbers from.
    """

    __slots__ = ("_explained", "_text", "identifiers", "name", "parameters", "sequences", "sql")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._explained: Statement | None = None
        self._text = _COMMENT.sub("", text).strip()
        self.parameters = tuple(dict.fromkeys(_PARAMETER.findall(self._text)))
        self.identifiers = frozenset(_IDENTIFIER.findall(self._text))
        self.sequences = frozenset(_SEQUENCE.findall(self._text))
        numbers = {parameter: f"${number}" for number, parameter in enumerate(self.parameters, 1)}
        self.sql = _PARAMETER.sub(lambda match: numbers[match[1]], self._text)

    def arguments(self, given: Mapping[str, object]) -> list[object]:
        """Return the values *given* by name in the order of the numbers.

        Raises:
            TypeError: A parameter is missing or unknown.
        """
        if len(given) == len(self.parameters):
            with suppress(KeyError):
                return [given[parameter] for parameter in self.parameters]
        raise TypeError(f"{self.name} takes {sorted(self.parameters)}, not {sorted(given)}")

    def naming(self, **identifiers: int | str) -> Statement:
        """Return the statement with what its braces name: a number in ``signals_{first_id}``, or a list ``{columns}``.

        Raises:
            TypeError: A name is missing or unknown.
        """
        if identifiers.keys() != self.identifiers:
            raise TypeError(f"{self.name} names {sorted(self.identifiers)}, not {sorted(identifiers)}")
        return Statement(self.name, self._text.format(**identifiers))

    @property
    def explained(self) -> Statement:
        """The statement that plans this one and does not carry it out; it has the same parameters."""
        if self._explained is None:
            self._explained = Statement(self.name, f"EXPLAIN {self._text}")
        return self._explained


class Statements:
    """The statements of one file; a subclass declares each of them as an attribute."""

    _all: ClassVar[tuple[Statement, ...]]

    def __init_subclass__(cls, *, file: str) -> None:
        package = cls.__module__.rpartition(".")[0]
        found = read_statements(package, file)
        declared = get_annotations(cls)
        if found.keys() != declared.keys():
            differing = sorted(found.keys() ^ declared.keys())
            raise ImportError(f"{file} and {cls.__module__}.{cls.__qualname__} differ in {differing}")
        for name, statement in found.items():
            setattr(cls, name, statement)
        cls._all = tuple(found.values())

    @classmethod
    def every(cls) -> tuple[Statement, ...]:
        """Return every statement of the file, in its order."""
        return cls._all


def read_statements(package: str, file: str) -> dict[str, Statement]:
    """Return the statements of *file* in *package* by their names."""
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    _, *found = _BEGINNING.split(_LOCK.sub(lambda match: str(getattr(locks, match[1])), text))
    texts: dict[str, dict[str, str]] = {"name": {}, "part": {}}
    for kind, name, content in zip(found[::3], found[1::3], found[2::3], strict=True):
        texts[kind][name] = _COMMENT.sub("", content).strip()
    return {
        name: Statement(f"{file}: {name}", _PART.sub(lambda match: texts["part"][match[1]], text))
        for name, text in texts["name"].items()
    }
