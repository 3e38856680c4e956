"""Signal names, patterns over them, and ids inside routing keys.

Dots separate the words of a name, as in a topic exchange. A pattern is a name in which ``*`` stands for exactly one
word and ``#`` for any number of words, including none.

Names whose first word is ``$broker`` are the broker's own. A pattern matches them only if that is its first word, too,
as MQTT has it for topics that begin with ``$`` (MQTT 5.0, section 4.7.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import takewhile
from urllib.parse import quote

from broker.errors import InvalidField

MAX_ROUTING_KEY_BYTES = 255
"""AMQP 0-9-1: a routing key is a short string."""
MAX_ID_CHARACTERS = 255
OWN = "$broker"
"""The first word of the broker's own names."""
_MOST_STEPS = 1_000
"""How far `covers` follows the names that a pattern matches; real limits and patterns take some dozens of steps."""

_FIRST, _LAST, _FIRST_BESIDE = 8, 4, 2
"""How many of a pattern's first and last words are in its key, and how many first ones beside one that is between."""

_UNPLAIN = re.compile(r"[^\w]", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def check_name(name: str, pointer: str = "/name") -> str:
    """Return *name* if it can name a signal.

    Raises:
        InvalidField: It contains control characters or unpaired surrogates, or is longer than a routing key.
    """
    check_text(name, pointer)
    size = len(name.encode())
    if size > MAX_ROUTING_KEY_BYTES:
        raise InvalidField(pointer, f"is {size} bytes long; a name is at most {MAX_ROUTING_KEY_BYTES}")
    return name


def check_throwable(name: str, pointer: str = "/name") -> None:
    """Check that callers may throw signals named *name*.

    Raises:
        InvalidField: It is one of the broker's own names.
    """
    if is_own(name):
        raise InvalidField(pointer, f"begins with the word {OWN!r}, which is reserved for the broker's own events")


def is_own(name: str) -> bool:
    """Return whether *name*, or any name that a pattern matches, is one of the broker's own."""
    return name.startswith(OWN) and (len(name) == len(OWN) or name[len(OWN)] == ".")


def check_id(value: str, pointer: str) -> str:
    """Return *value* if it can be the id of a tenant or of an execution.

    Raises:
        InvalidField: It contains control characters or unpaired surrogates, or has more than 255 characters.
    """
    check_text(value, pointer)
    if len(value) > MAX_ID_CHARACTERS:
        raise InvalidField(pointer, f"has {len(value)} characters; an id has at most {MAX_ID_CHARACTERS}")
    return value


def check_text(value: str, pointer: str) -> None:
    """Check that *value* can be part of a name, an id or a password.

    Raises:
        InvalidField: It contains control characters or unpaired surrogates.
    """
    found = _CONTROL.search(value)
    if found:
        raise InvalidField(pointer, f"contains the character U+{ord(found.group()):04X}, which is not allowed here")


def encode_id(value: str) -> str:
    """Return *value* as one word of a routing key: every byte outside ``[A-Za-z0-9_-]`` percent-encoded."""
    return quote(value, safe="").replace(".", "%2E").replace("~", "%7E")


def is_pattern(name: str) -> bool:
    """Return whether *name* is a pattern, that is, whether one of its words is ``*`` or ``#``."""
    return any(word in {"*", "#"} for word in name.split("."))


def sample_name(pattern: str) -> str:
    """Return a name that *pattern* matches, with ``test`` in place of each wildcard."""
    return ".".join("test" if word in {"*", "#"} else word for word in pattern.split("."))


def literal_words(pattern: str) -> str:
    """Return what every name that *pattern* matches begins with: its words before the first wildcard."""
    return ".".join(takewhile(lambda word: word not in {"*", "#"}, pattern.split(".")))


def pattern_key(pattern: str) -> str:
    """Return what *pattern* is found by: its first words and its last ones, or the first and one between its wildcards.

    The store has it as a function of PostgreSQL, too: `pattern_key` (schema.sql).
    """
    words = pattern.split(".")
    wild = [at for at, word in enumerate(words) if word in {"*", "#"}]
    first, last = words[: wild[0]], words[wild[-1] + 1 :]
    between = next((word for word in words[wild[0] : wild[-1]] if word not in {"*", "#"}), None)
    return _key(first[:_FIRST], last[-_LAST:]) if between is None else _key_beside(first[:_FIRST_BESIDE], between)


@lru_cache(maxsize=10_000)
def pattern_keys(name: str) -> frozenset[str]:
    """Return the keys of all patterns that match *name*: up to 45, and 3 for each of its words."""
    words = name.split(".")
    size, least = len(words), int(is_own(name))
    keys = {
        _key(words[:first], words[size - last :])
        for first in range(least, min(size, _FIRST) + 1)
        for last in range(min(size - first, _LAST) + 1)
    }
    for first in range(least, min(size, _FIRST_BESIDE) + 1):
        keys.update(_key_beside(words[:first], word) for word in words[first:])
    return frozenset(keys)


def _key(first: Sequence[str], last: Sequence[str]) -> str:
    return f"{'.'.join(first)}\x1f{'.'.join(last)}"


def _key_beside(first: Sequence[str], between: str) -> str:
    return f"{'.'.join(first)}\x1f\x1f{between}"


def matches(pattern: str, name: str) -> bool:
    """Return whether *pattern* matches *name*; a name without wildcards matches itself.

    The cost is a few operations for each word of *name*, whatever the pattern is.
    """
    if pattern == name:
        return True
    compiled = _compile(pattern)
    return compiled is not None and compiled.matches(name) and (not is_own(name) or is_own(pattern))


class _Pattern:
    """A pattern as an automaton: bit i of a set stands for the first i words of the pattern, without its hashes.

    Args:
        pattern: The pattern.
    """

    __slots__ = ("_any", "_end", "_loops", "_words")

    def __init__(self, pattern: str) -> None:
        self._words: dict[str, int] = {}
        self._any = self._loops = 0
        at = 0
        for word in pattern.split("."):
            if word == "#":
                self._loops |= 1 << at
                continue
            if word == "*":
                self._any |= 1 << at
            else:
                self._words[word] = self._words.get(word, 0) | 1 << at
            at += 1
        self._end = 1 << at

    def matches(self, name: str) -> bool:
        """Return whether it matches *name*."""
        reached = 1
        for word in name.split("."):
            reached = (reached & (self._any | self._words.get(word, 0))) << 1 | reached & self._loops
            if not reached:
                return False
        return reached & self._end != 0


@lru_cache(maxsize=10_000)
def _compile(name: str) -> _Pattern | None:
    return _Pattern(name) if is_pattern(name) else None


def covers(limits: Sequence[str], pattern: str) -> bool:
    """Return whether every name that *pattern* matches is matched by one of *limits*; a name matches itself.

    It follows the words of these names through all limits at once. A word that *pattern* leaves open stands for one
    that no limit has: whatever matches that, matches any other one, too. If it takes too many steps, which only
    patterns made for it do, they count as not covered.
    """
    words = pattern.split(".")
    if not is_pattern(pattern):
        return any(matches(limit, pattern) for limit in limits)
    automaton = _automaton(tuple(filter(is_own, limits) if is_own(pattern) else limits))
    todo = [(0, automaton.start, False)]
    seen = set(todo)
    while todo:
        at, states, begun = todo.pop()
        if not states or len(seen) > _MOST_STEPS:
            return False
        if at == len(words):
            if begun and not automaton.accepts(states):  # a name has at least one word
                return False
            continue
        after = (at + 1, states, begun) if words[at] == "#" else (at + 1, automaton.step(states, words[at]), True)
        steps = {after, (at, automaton.step(states, "#"), True)} if words[at] == "#" else {after}
        todo += steps - seen
        seen |= steps
    return True


class _Automaton:
    """What is left of several patterns once they have matched some words; bits of an integer are its states."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.start = self._ends = self._wild = self._skipped = 0
        self._words: dict[str, int] = {}
        position = 0
        for pattern in patterns:
            self.start |= 1 << position
            for word in pattern.split("."):
                bit = 1 << position
                if word == "#":
                    self._skipped |= bit
                elif word == "*":
                    self._wild |= bit
                else:
                    self._words[word] = self._words.get(word, 0) | bit
                position += 1
            self._ends |= 1 << position
            position += 1
        self.start = self._skip(self.start)

    def step(self, states: int, word: str) -> int:
        """Return the states after *word*, which is any word that no pattern has if it is wild."""
        moved = states & (self._wild | self._words.get(word, 0))
        return self._skip(moved << 1 | states & self._skipped)

    def accepts(self, states: int) -> bool:
        """Return whether one of the patterns matches the words so far."""
        return bool(states & self._ends)

    def _skip(self, states: int) -> int:
        while (reached := states | (states & self._skipped) << 1) != states:
            states = reached
        return states


_automaton = lru_cache(1_000)(_Automaton)


def expression(patterns: Iterable[str]) -> str:
    """Return a regular expression for PostgreSQL that matches the names that any of *patterns* matches.

    It expects a dot in front of the name, so that every word has one. It agrees with `matches`.
    """
    return f"^(?:{'|'.join(map(_expression, patterns))})$"


def _expression(pattern: str) -> str:
    wild = {"*": r"\.[^.]*", "#": r"(?:\.[^.]*)*"}
    others = rf"(?!\.\{OWN}(?:\.|$))" if pattern.split(".", 1)[0] in wild else ""
    return others + "".join(wild.get(word) or r"\." + _UNPLAIN.sub(r"\\\g<0>", word) for word in pattern.split("."))
