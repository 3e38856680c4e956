"""Filters and payloads that are legal and made to keep a processor busy, and how long an event loop is kept busy."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_RANDOM = random.Random(13)


def _letters(count):
    return "".join(_RANDOM.choice("ab") for _ in range(count))


def _nested(depth, twins):
    value = {"x": 1}
    for level in range(depth):
        value = {"a": value, "a.a": value} if level < twins else {"a": value}
    return value


def _records(operator, value, text):
    """Ten conditions on each of a thousand records."""
    names = [f"k{number}" for number in range(10)]
    condition = {"operator": operator, "inverted": True, **value}
    return {f"l[*].{name}": condition for name in names}, {"l": [dict.fromkeys(names, text)] * 1000}


_REGEX = "[ab]*a[ab]{700}[ab]{700}"
_NEEDLES = ["a" * 60 + "b" + "a" * 30 + str(number) for number in range(100)]

HOSTILE = {
    "regular expressions": (
        {"p": [{"operator": "REGEX", "value": _REGEX + end, "inverted": True} for end in "cde"]},
        {"p": _letters(32_768)},
    ),
    "regular expressions on elements": (
        {f"l[*].k{number}": {"operator": "REGEX", "value": _REGEX + "c", "inverted": True} for number in range(3)},
        {"l": [{f"k{number}": _letters(170) for number in range(3)} for _ in range(190)]},
    ),
    "networks": _records("IN_CIDR", {"values": [f"10.{number}.0.0/16" for number in range(20)]}, "2001:db8::1"),
    "versions": _records("SEMVER_LT", {"value": "1.0.0"}, "1.1.1-1.1.1.1.1.1.1.1.1.a"),
    "dates": _records("DATE_AFTER", {"value": "2026-01-01"}, "2025-01-01T00:00:00Z"),
    "needles": (
        {"p": [{"operator": "STR_CONTAINS", "values": _NEEDLES, "caseInsensitive": True, "inverted": True}] * 3},
        {"p": "a" * 32_768},
    ),
    "alternatives": (
        {"anyOf": [{f"l[*].k{number}": {"operator": "SEMVER_GT", "value": "9.0.0"}} for number in range(10)]},
        {"l": [{f"k{number}": "1.1.1-a.b.c" for number in range(10)}] * 1000},
    ),
    "ambiguous paths": (
        {".".join("a" * dots): {"operator": "IN", "values": ["9"], "inverted": True} for dots in range(30, 80)},
        _nested(40, 11),
    ),
    "many values": (
        {
            "p": [
                {"operator": "IN_CIDR", "inverted": True, "values": [f"1.{i}.{j}.0/24" for i in range(250)]}
                for j in range(6)
            ]
        },
        {"p": "9.9.9.9"},
    ),
}
"""By what they are made of: a filter, and a payload."""


class Lag:
    """The longest time, in seconds, that the event loop served nobody else, as far as that was its own computing.

    What other processes of the machine took meanwhile does not count.
    """

    longest = 0.0


@asynccontextmanager
async def measuring_lag() -> AsyncIterator[Lag]:
    """Measure the lag of this event loop while the block runs."""
    lag = Lag()

    async def tick():
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            lag.longest, before = max(lag.longest, now - before), now

    # As the product does when it has started: what is there already is not searched again and again.
    gc.collect()
    gc.freeze()
    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    try:
        yield lag
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])
        gc.unfreeze()


def encode(payload):
    """Return *payload* as JSON."""
    return json.dumps(payload).encode()
