"""Which answers of PostgreSQL are about the data: everything else means "not now", whatever class the error is of.

Classes 22 and 23 are about data and constraints, but not only about ours: a sequence at its end is of class 22, and a
column, a trigger or a constraint that an operator added refuses good data with class 23. We give every
column of ours a value, so a null is never the data's fault; and only constraints of our own schema say anything.
"""

from __future__ import annotations

import re
from importlib.resources import files

_DATA = frozenset(
    {
        "22000",  # data exception
        "22001",  # string too long
        "22003",  # number out of range
        "22007",  # invalid datetime format
        "22008",  # datetime out of range
        "22009",  # invalid time zone
        "22015",  # interval out of range
        "22021",  # a character that the encoding does not have
        "22P02",  # invalid text of a value
        "22P03",  # invalid binary form of a value
        "22P05",  # a character that cannot be converted: \u0000 in JSON
    }
)
"""SQLSTATEs of errors about values, besides those about JSON."""
_JSON = "2203"
_VIOLATIONS = frozenset({"23503", "23505", "23514"})
"""SQLSTATEs of violated constraints: foreign keys, unique ones and checks."""

_SCHEMA = files("broker.store").joinpath("schema.sql").read_text()
_CONSTRAINTS = frozenset(re.findall(r"(?:CONSTRAINT|CREATE UNIQUE INDEX) (\w+)", _SCHEMA))
_PART = re.compile(r"_\d+(?=_|$)")
"""What the names of partitions, and of their keys, have more than those of the tables."""


def is_about_data(sqlstate: str, constraint: str | None) -> bool:
    """Return whether an error says that the data itself is refused.

    Args:
        sqlstate: The error's SQLSTATE.
        constraint: The constraint that it names, if it names one.
    """
    if sqlstate in _VIOLATIONS:
        return constraint is not None and _PART.sub("", constraint, count=1) in _CONSTRAINTS
    return sqlstate in _DATA or sqlstate.startswith(_JSON)
