"""Which handlers a signal is for, by its name and its scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_OWN = "$broker"
"""The first word of the broker's own events."""


def matches(pattern: str, name: str) -> bool:
    """Return whether *pattern* matches *name*: ``*`` is one word, ``#`` any number of words.

    The broker's own events match only patterns that begin with their first word.
    """
    words, wanted = name.split("."), pattern.split(".")
    return (words[0] != _OWN or wanted[0] == _OWN) and _match(wanted, words)


def is_for(signal: Mapping[str, object], subscription: Mapping[str, object]) -> bool:
    """Return whether the scope of *signal* reaches *subscription*."""
    match signal["scope"]:
        case "execution":
            return subscription["executionId"] == signal["executionId"]
        case "tenant":
            return subscription["tenantId"] == signal["tenantId"]
        case "untenanted":
            return subscription["tenantId"] is None
    return True


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(_match(rest, words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and first in {"*", words[0]} and _match(rest, words[1:])
