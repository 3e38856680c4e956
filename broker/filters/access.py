"""Access: what a filter cannot do without, by which its subscriptions are found.

{"order.id": {"operator": "IN", "values": ["7"]}}     =order.id, "7"     one of these texts is there
{"cpu": {"operator": "NUM_EQ", "value": "90"}}        #cpu, "90"         ... as JavaScript would write its number
{"cpu": {"operator": "NUM_GT", "value": "90"}}        <#cpu, 90 to any   a number between these is there
{"at": {"operator": "DATE_BEFORE", "value": "2027"}}  <tat, any to ...   a moment, in seconds; <v: a version

A condition at the top of a filter has to hold for every payload that the filter matches, so that a subscription whose
filter wants something else there is not read. The store chooses it: `filter_access` for values, as `access_to` does,
and `filter_span` for filters that have none (schema.sql).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isnan
from typing import NamedTuple

from broker.filters.conditions import Condition
from broker.filters.javascript import BLANKS, number, string
from broker.filters.operators import read_date, read_version

MOST_VALUES = 32
"""How many values a condition has at most by which a filter is found."""
MAX_PATH_BYTES = 255
"""How long its path is at most: it is in an index."""

_SPAN = "<"
_FARTHEST = Decimal("1e50")
"""How far points are from zero at most: bounds are nearer, but those that are open."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_PLAIN_INTEGER = re.compile("0|-?[1-9][0-9]{0,14}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Access(NamedTuple):
    """What a filter is found by.

    Args:
        path: How texts are compared (``=`` or ``#``), and where in the payload they are.
        values: What texts are equal to then; one of them has to be there.
    """

    path: str
    values: frozenset[str]


def access_to(conditions: Iterable[Condition]) -> Access | None:
    """Return what a filter with these *conditions* at its top is found by, None if it is not.

    That is the condition with the fewest values; of those, the one with the shortest path.
    """
    found = [access for condition in conditions if (access := _access(condition)) is not None]
    return min(found, key=lambda access: (len(access.values), _place(access.path[1:])), default=None)


def path_of(found_by: str) -> str:
    """Return the path of the payload in what filters are *found by*."""
    return found_by[2:] if is_span(found_by) else found_by[1:]


def is_span(found_by: str) -> bool:
    """Return whether filters are *found by* what lies between two points."""
    return found_by.startswith(_SPAN)


def texts_for(path: str, texts: Iterable[str]) -> set[str]:
    """Return what the *texts* under the path of what filters are found by, *path*, are equal to.

    If these filters have spans: the points that they are, as decimals.
    """
    if is_span(path):
        points = map(_POINTS[path[1]], texts)
        return {f"{min(max(point, -_FARTHEST), _FARTHEST):.20f}" for point in points if point is not None}
    made = texts if path[0] == "=" else (string(value) for text in texts if not isnan(value := number(text)))
    return {text for text in made if not _UNSTORABLE.search(text)}


def _number(text: str) -> Decimal | None:
    value = number(text)
    return None if isnan(value) else Decimal(repr(value))


def _version(text: str) -> Decimal | None:
    """Return the point of a version; those before its release have the same one."""
    version = read_version(text)
    return None if version is None else Decimal(version[0] * 10**32 + version[1] * 10**16 + version[2])


def _moment(text: str) -> Decimal | None:
    moment = read_date(text)
    return None if moment is None else Decimal((moment - _EPOCH) // timedelta(microseconds=1)).scaleb(-6)


_POINTS: dict[str, Callable[[str], Decimal | None]] = {"#": _number, "v": _version, "t": _moment}
"""By the kind of a span, how a text becomes a point."""


def _place(path: str) -> tuple[int, bytes]:
    """Return by what PostgreSQL orders the members of an object."""
    written = path.encode()
    return len(written), written


def _access(condition: Condition) -> Access | None:
    if condition.inverted or len(condition.path.encode()) > MAX_PATH_BYTES:
        return None
    match condition.operator:
        case "IN":
            kind = "="
        case "NUM_EQ" if all(map(_PLAIN_INTEGER.fullmatch, condition.values)):
            kind = "#"
        case _:
            return None
    wanted = frozenset(value.strip(BLANKS) for value in condition.values if value)
    return Access(kind + condition.path, wanted) if len(wanted) <= MOST_VALUES else None
