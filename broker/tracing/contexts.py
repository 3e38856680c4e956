"""W3C trace contexts: which trace a request or a signal belongs to.

traceparent  00-<trace: 32 hex digits>-<span: 16>-<flags: 2>
tracestate   vendor=value,tenant@vendor=value: opaque, passed on with the signal
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

PARENT = "traceparent"
STATE = "tracestate"

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = r"[a-z0-9][a-z0-9_*/@-]{0,255}"
_MEMBER = re.compile(rf"({_KEY})=[ -+\--<>-~]{{0,255}}[!-+\--<>-~]")
_KNOWN_FLAGS = 0x03
"""Sampled, and a random trace id: those of version 00."""
_MOST_MEMBERS = 32
_MOST_CHARACTERS = 512
"""What is passed on of a `tracestate`, as little as everybody has to."""
_LONG_MEMBER = 128
"""Members with more characters go first from a `tracestate` that is too long."""


class TraceContext(NamedTuple):
    """The span that caused something, as W3C's headers name it.

    Args:
        traceparent: The trace, the span and its flags.
        tracestate: What tracing systems on the way have noted.
    """

    traceparent: str
    tracestate: str | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that pass it on, of a request or a message."""
        state = {} if self.tracestate is None else {STATE: self.tracestate}
        return {PARENT: self.traceparent, **state}


def read_context(traceparent: str, tracestates: Iterable[str] = ()) -> TraceContext | None:
    """Return the context that headers name; None if *traceparent* is invalid, whatever the *tracestates* are.

    That of a later version of the specification is reduced to what version 00 has.
    """
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version != "00":
        traceparent = f"00-{trace}-{span}-{int(flags, 16) & _KNOWN_FLAGS:02x}"
    elif more is not None:
        return None
    return TraceContext(traceparent, _read_state(tracestates))


def numbers(traceparent: str) -> tuple[int, int, int] | None:
    """Return trace, span and flags of *traceparent*; None if it is none: earlier versions passed on ids of zeros."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return None if found is None else (int(found[2], 16), int(found[3], 16), int(found[4], 16))


def _read_state(values: Iterable[str]) -> str | None:
    """Return the members of *values*, the headers `tracestate` in their order; None if they break W3C's rules.

    More characters than are passed on lose first the long members, then the last ones.
    """
    members = [member for value in values for text in value.split(",") if (member := text.strip(" \t"))]
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {one.group(1) for one in found if one is not None}
    if not members or len(members) > _MOST_MEMBERS or len(keys) < len(members):
        return None
    if _length(members) > _MOST_CHARACTERS:
        members = [member for member in members if len(member) <= _LONG_MEMBER]
    while _length(members) > _MOST_CHARACTERS:
        members.pop()
    return ",".join(members) or None


def _length(members: list[str]) -> int:
    return sum(map(len, members)) + len(members) - 1
