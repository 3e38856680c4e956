"""Filters and payloads of every kind, for tests of what matches."""

from __future__ import annotations

import json
from random import Random

from hypothesis import strategies as st

from broker.filters import Condition, Filter, load_filter
from broker.filters.javascript import BLANKS
from broker.filters.operators import OPERATORS

PATHS = ("a", "b", "c.d", "l[*]", "l[0]", "l[*].x", "anyOf", "ä")
ODD = (
    "",
    " ",
    "a",
    "A",
    " a ",
    "ab",
    "ß",
    "SS",
    "K",
    "k",
    "K",
    "ÄÖ",
    "äö",
    "\ufeffa",
    "İ",
    "i̇",
    "😀",
    "\\u0000",
    "x" * 60,
)
NUMBERS = (
    "7",
    "7.0",
    " 7 ",
    "+7",
    "07",
    "0x7",
    "7e0",
    "-7",
    "0",
    "-0",
    "0.0",
    "1e3",
    "1000",
    "true",
    "NaN",
    "Infinity",
    "1.5",
)
LARGE = ("9007199254740993", "9007199254740992", "123456789012345", "1e21", "1000000000000000000000")
OTHERS = ("1.2.3", "2.0.0-beta.1", "10.0.0.0/8", "10.1.2.3", "2026-01-31", "2026-01-31T08:00:00Z", "^a.*$", *BLANKS)

TEXTS = st.sampled_from((*ODD, *NUMBERS, *LARGE, *OTHERS))
LISTS = st.one_of(
    st.lists(TEXTS, min_size=1, max_size=4), st.integers(30, 35).map(lambda size: [f"{i}" for i in range(size)])
)
CONDITIONS = st.builds(
    Condition,
    path=st.sampled_from(PATHS),
    operator=st.sampled_from([*OPERATORS, *["IN", "NUM_EQ"] * 8]),
    values=LISTS.map(tuple),
    inverted=st.sampled_from((False, False, False, True)),
    case_insensitive=st.booleans(),
)
GROUPS = st.lists(CONDITIONS.filter(lambda one: one.path != "anyOf"), min_size=1, max_size=3).map(tuple)
FILTERS = st.builds(
    Filter,
    conditions=st.lists(CONDITIONS, max_size=3, unique_by=lambda one: one.path == "anyOf" or id(one)).map(tuple),
    any_of=st.lists(GROUPS, max_size=2).map(tuple),
).map(lambda made: load_filter(made.document))

SCALARS = st.one_of(
    TEXTS,
    st.sampled_from((None, True, False, 7, 7.0, -7, 0, -0.0, 1.5, 1000, 9007199254740993, 1e21, 123456789012345)),
    st.sampled_from(("a\x00", "\ud800", "a\udfff")),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(("x", "d", "", "0", "a.b")), inner, max_size=3)
    ),
    max_leaves=6,
)
PAYLOADS = st.dictionaries(st.sampled_from(("a", "b", "c", "l", "anyOf", "ä", "c.d", "l[0]")), VALUES, max_size=5).map(
    lambda payload: json.dumps(payload).encode()
)

_NUMBERS = ("7", "6.5", "07", "-3")
_VERSIONS = ("1.2.3", "1.2.3-rc.1", "0.9.12")
_MOMENTS = ("2026-01-31", "2026-01-31T08:00:00.5Z", "2026-02-01T00:00:00+02:00")
_FEW = ("a", " a ", "7", "07", "7.0", "0x7", "")
_LIKELY = ("IN", "IN", "IN", "NUM_EQ", "NOT_IN", "STR_CONTAINS", "NUM_GT", "NUM_LTE", "SEMVER_GTE", "DATE_BEFORE")
_COMPARED = {"NUM": _NUMBERS, "SEMVER": _VERSIONS, "DATE": _MOMENTS}
"""By what their names begin with, what comparisons are likely to compare with."""


def likely_filter(random: Random) -> Filter:
    """Return a filter that matches some of the `likely_payload`."""
    conditions = tuple(
        Condition(
            path=random.choice(("a", "a", "l[*]", "b", "c.d")),
            operator=(operator := random.choice(_LIKELY)),
            values=tuple(_likely_values(random, operator)),
            inverted=random.random() < 0.1,
        )
        for _ in range(random.choice((1, 1, 2)))
    )
    groups = (conditions,) if random.random() < 0.1 else ()
    return Filter(conditions=() if groups else conditions, any_of=groups)


def _likely_values(random: Random, operator: str) -> list[str]:
    if operator == "NUM_EQ":
        return [random.choice(_FEW)]
    compared = _COMPARED.get(operator.partition("_")[0])
    return random.choices(_FEW, k=random.randint(1, 3)) if compared is None else [random.choice(compared)]


def likely_payload(random: Random) -> bytes:
    """Return a payload that some of the `likely_filter` match."""
    scalars = (*_FEW, *_FEW, 7, 7.0, None, True, {"d": 7}, ["a"], 6.5, 1e300, *_NUMBERS, *_VERSIONS, *_MOMENTS)
    payload = {"a": random.choice(scalars), "l": random.choices(scalars, k=random.randint(0, 4)), "c": {"d": "a"}}
    return json.dumps(payload | random.choice(({}, {"b": random.choice(scalars)}))).encode()
