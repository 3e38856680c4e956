"""Searches: whether a signal holds what a caller looks for in its payload and its keys."""

from __future__ import annotations

import re
from dataclasses import dataclass

from broker.filters.contexts import ANY
from broker.jsontext import resolve_escapes
from broker.signals import Signal

_LONGEST = 16
"""Characters of a hint: PostgreSQL compares that many at each place of a text in the worst case."""
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?|Infinity)")
"""What numbers look like as text; in a payload they may be written differently."""
_IMPRECISE = "-?([0-9.]{16}|[0-9.]*[eE][+-]?[0-9]{3})"
"""Numbers that may be no exact doubles: of these, other digits can be written."""
_SEPARATORS = re.compile(r"[.\[\]]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is looked for in signals; all of it must be there.

    The hints are what the JSON text of every payload that fits holds, unless it has escapes, so that most of the others
    need not be read.

    Args:
        values: Paths in the payload, as those of filters, and the text of the value under each.
        text: What stands somewhere in the payload or in one of the keys, in any letter case.
    """

    values: tuple[tuple[str, str], ...] = ()
    text: str | None = None

    def fits(self, signal: Signal) -> bool:
        """Return whether *signal* is looked for."""
        if self.text is not None and not _mentions(signal, self.text.lower()):
            return False
        return all(signal.context.holds(path, text) for path, text in self.values)

    @property
    def hints(self) -> list[str]:
        """What the values look like in a payload: the words of their paths, and the texts that are no numbers."""
        words = {word for path, _ in self.values for word in _SEPARATORS.split(path.replace(ANY, "."))}
        hints = {word for word in words if not word.isdecimal()}
        hints.update(text for _, text in self.values if not _NUMBER.fullmatch(text))
        return sorted({hint[-_LONGEST:] for hint in hints if hint})

    @property
    def number(self) -> str | None:
        """A regular expression for payloads with the longest of those texts that may be numbers, under its path."""
        numbers = [(path, text) for path, text in self.values if _NUMBER.fullmatch(text)]
        if not numbers:
            return None
        path, number = max(numbers, key=lambda one: len(one[1]))
        return rf'{_before(path)}\s*"?({_written(number)})'

    @property
    def text_hint(self) -> str | None:
        """A part of the text whose letters are all of ASCII, and small; empty if there is none."""
        if self.text is None:
            return None
        runs = re.split(r"[^\x01-\x7f]+", self.text)
        return max(runs, key=len)[-_LONGEST:].lower()


def _before(path: str) -> str:
    """Return a regular expression for what is before the value under *path*: a member's name, or that of an array."""
    word = _SEPARATORS.split(path)[-1]
    if word and not word.isdecimal():
        return rf'{re.escape(word[-_LONGEST:])}"\s*:'
    return r'("\s*:|[\[,])'


def _written(number: str) -> str:
    """Return a regular expression for *number* in JSON, however it is written: 42, ``42.0``, ``0.42e2``."""
    digits = number.partition("e")[0].replace(".", "").strip("-0")
    ways = [_IMPRECISE]
    if len(number) <= _LONGEST:
        ways.append("-?" + re.escape(number))
        if digits.isdecimal():
            ways.append(r"-?[0.]*" + r"\.?".join(digits) + ("" if "e" in number else "[0.]*[eE]"))
    return "|".join(ways)


def _mentions(signal: Signal, text: str) -> bool:
    throw = signal.throw
    keys = (throw.name, throw.business_key, throw.ordering_key, throw.source_id, throw.execution_id)
    if any(text in str(key).lower() for key in keys if key is not None):
        return True
    return text in resolve_escapes(throw.payload.decode()).lower()
