"""Hops: how many deliveries led to a throw, so that signals which cause each other come to an end.

    throw --> signal with 0 hops --> delivery, says 1 --> the receiver throws, and says 1 --> signal with 1 hop

A delivery says it in a header of its own and in W3C baggage, which services with OpenTelemetry pass on unknowingly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote

from broker.errors import EndlessLoop, InvalidField

LIMIT = 16
"""A throw after so many deliveries is refused."""
HEADER = "Signal-Broker-Hops"
MEMBER = "signal-broker-hops"
"""The member of the baggage; in messages, the header as well."""
BAGGAGE = "baggage"

_NUMBER = re.compile("[0-9]+")


def read_hops(headers: Iterable[str], baggage: Iterable[str]) -> int:
    """Return after how many deliveries a throw comes; of several numbers the highest counts.

    Args:
        headers: The values of its headers `HEADER`.
        baggage: The values of its headers `BAGGAGE`; what others put there may have any form, and is passed over.

    Raises:
        InvalidField: A header `HEADER` is no number.
        EndlessLoop: There were `LIMIT` deliveries.
    """
    hops = max((*map(_hops, _items(headers)), *_in_baggage(baggage)), default=0)
    if hops >= LIMIT:
        raise EndlessLoop(
            f"This throw comes after {LIMIT} deliveries, each of which led to the next throw: these signals cause each"
            f" other ({HEADER})."
        )
    return hops


def next_hops(hops: int) -> dict[str, str]:
    """Return the headers by which a delivery of a signal with these *hops* says how many a throw in its wake has."""
    return {HEADER: str(hops + 1), BAGGAGE: f"{MEMBER}={hops + 1}"}


def add_hops(headers: Mapping[str, str], hops: int) -> dict[str, str]:
    """Return *headers* with those of `next_hops`; baggage that is there stays."""
    added = next_hops(hops)
    given = [value for name, value in headers.items() if name.lower() == BAGGAGE and value]
    added[BAGGAGE] = ",".join([*given, added[BAGGAGE]])
    return {name: value for name, value in headers.items() if name.lower() not in {BAGGAGE, HEADER.lower()}} | added


def _items(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield from (item.strip() for item in value.split(","))


def _hops(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise InvalidField(HEADER, "must be a number: how many deliveries led to this throw")
    return _limited(text)


def _in_baggage(values: Iterable[str]) -> Iterator[int]:
    for member in _items(values):
        key, _, value = member.partition(";")[0].partition("=")
        number = unquote(value.strip())
        if key.strip() == MEMBER and _NUMBER.fullmatch(number):
            yield _limited(number)


def _limited(digits: str) -> int:
    """Return the number in *digits*, or `LIMIT` if it is higher."""
    return min(int(digits.lstrip("0")[:6] or "0"), LIMIT)
