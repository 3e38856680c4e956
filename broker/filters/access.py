"""Access: what a filter cannot do without, by which its subscriptions are found.

{"order.id": {"operator": "IN", "values": ["7"]}}     =order.id, "7"     one of these texts is there
{"cpu": {"operator": "NUM_EQ", "value": "90"}}        #cpu, "90"         ... as JavaScript would write its number

A condition at the top of a filter has to hold for every payload that the filter matches, so that a subscription whose
filter wants something else there is not read. The store chooses the same condition: `filter_access` (schema.sql).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isnan
from typing import NamedTuple

from broker.filters.conditions import Condition
from broker.filters.javascript import BLANKS, number, string

MOST_VALUES = 32
"""How many values a condition has at most by which a filter is found."""
MAX_PATH_BYTES = 255
"""How long its path is at most: it is in an index."""

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


def texts_for(path: str, texts: Iterable[str]) -> set[str]:
    """Return what the *texts* that are found under the path of an `Access` with that *path* are equal to."""
    made = texts if path[0] == "=" else (string(value) for text in texts if not isnan(value := number(text)))
    return {text for text in made if not _UNSTORABLE.search(text)}


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
