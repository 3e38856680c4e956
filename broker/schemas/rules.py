"""What members of a document say of each other, as JSON schemas: for the description, the code checks it itself."""

from __future__ import annotations

from typing import Any

Rule = dict[str, Any]
"""A JSON schema."""


def given(member: str) -> Rule:
    """Return the rule that *member* is there and not null."""
    return {"required": [member], "properties": {member: {"not": {"type": "null"}}}}


def missing(member: str) -> Rule:
    """Return the rule that *member* is left out or null."""
    return {"properties": {member: {"type": "null"}}}


def unset(flag: str) -> Rule:
    """Return the rule that *flag* is left out, null or false."""
    return {"properties": {flag: {"enum": [False, None]}}}


def one_of(one: str, other: str) -> Rule:
    """Return the rule that exactly one of two members is given."""
    return {"oneOf": [{"allOf": [given(one), missing(other)]}, {"allOf": [given(other), missing(one)]}]}


def any_of(*rules: Rule) -> Rule:
    """Return the rule that one of *rules* holds.

    Below `allOf`: generators of clients take a schema with `anyOf` for one of several types, and lose its members.
    """
    return {"allOf": [{"anyOf": list(rules)}]}


def when(condition: Rule, then: Rule, otherwise: Rule) -> Rule:
    """Return the rule that *then* holds where *condition* does, and *otherwise* where it does not."""
    return {"if": condition, "then": then, "else": otherwise}


def all_of(*rules: Rule) -> Rule:
    """Return the rule that all *rules* hold."""
    return {"allOf": list(rules)}
