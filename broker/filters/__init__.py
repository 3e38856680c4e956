"""Filters: what a signal's payload must hold for a subscription to get it.

{"cpu": {"operator": "NUM_GT", "value": "90"},         all of these must hold,
 "disk": [{"operator": "NUM_GT", "value": "10"},       two of them on one path,
          {"operator": "NUM_LT", "value": "20"}],
 "anyOf": [{"region": {"operator": "IN", ...}},        and all of at least one of these groups
           {"zone": {"operator": "IN", ...}, ...}]}

javascript    how texts and numbers are converted
operators     what each operator does                  docs/filters.md is for those who write filters
contexts      payloads, and paths in them
conditions    an operator and its values, for a path
steps         how an evaluation can be stopped
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from broker.errors import InvalidField, pointer_to
from broker.filters.conditions import LONG, Condition, Long
from broker.filters.contexts import ANY, STEP_LOOKS, Context
from broker.filters.javascript import string
from broker.filters.operators import OPERATORS, Operator
from broker.filters.steps import Steps, finish
from broker.jsontext import encode

__all__ = ["LONG", "Condition", "Context", "Filter", "Long", "load_filter", "parse_filter"]

MAX_DOCUMENT_BYTES = 32 * 1024
MAX_CONDITIONS = 50
MAX_VALUES = 250
MAX_VALUE_CHARACTERS = 1000
MAX_PATH_CHARACTERS = 500
MAX_REGEXES = 3
MAX_ANY_ELEMENTS = 10

_AT_ONCE = 16
"""How many conditions are checked at once."""
_ANY_OF = "anyOf"
_FLAGS = ("inverted", "caseInsensitive")
_MEMBERS = ("operator", "value", "values", *_FLAGS)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

Conditions = tuple[Condition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions, all of which must hold; and groups of conditions, one of which must hold, if there are any.

    Args:
        conditions: In the order in which they are checked.
        any_of: The groups; none is empty.
    """

    conditions: Conditions = ()
    any_of: tuple[Conditions, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The filter as JSON; `parse_filter` makes the same filter of it again."""
        groups = {_ANY_OF: [_document(group) for group in self.any_of]} if self.any_of else {}
        return _document(self.conditions) | groups

    def mismatch(self, context: Context) -> str | None:
        """Return why the payload is not for it, as a clause of at most 300 characters; None if it is."""
        return finish(self.steps(context))

    def mismatch_at_once(self, context: Context) -> str | Long | None:
        """Return what `mismatch` does if that is known within some 300 us, else `LONG`."""
        limit = context.looks + STEP_LOOKS
        reason = _mismatch_at_once(self.conditions, context, limit)
        if reason is not None or not self.any_of:
            return reason
        first: str | None = None
        for group in self.any_of:
            reason = _mismatch_at_once(group, context, limit)
            if reason is None or isinstance(reason, Long):
                return reason
            first = first or reason
        return _no_group(first)

    def steps(self, context: Context) -> Steps[str | None]:
        """Return what finds out why the payload is not for it, as `mismatch` does, in steps."""
        reason = yield from _first_mismatch(self.conditions, context)
        if reason is None and self.any_of:
            reason = yield from self._no_group_holds(context)
        return reason

    def _no_group_holds(self, context: Context) -> Steps[str | None]:
        first = None
        for group in self.any_of:
            reason = yield from _first_mismatch(group, context)
            if reason is None:
                return None
            first = first or reason
        return _no_group(first)


def parse_filter(document: object, pointer: str = "/filter") -> Filter:
    """Return the filter that *document* describes: JSON as Python has it, found at *pointer*.

    Raises:
        InvalidField: It is none; the pointer leads to what is wrong, the detail says what is allowed.
    """
    if not isinstance(document, dict):
        raise InvalidField(pointer, "must be a JSON object that has a condition for each path of the payload")
    size = len(encode(document))
    if size > MAX_DOCUMENT_BYTES:
        raise InvalidField(pointer, f"is {size} bytes long; a filter has at most {MAX_DOCUMENT_BYTES}")
    # A condition on a path that is named anyOf is an object there, and a list of groups is a list.
    groups = document[_ANY_OF] if isinstance(document.get(_ANY_OF), list) else None
    plain = {path: given for path, given in document.items() if path != _ANY_OF or groups is None}
    parsed = Filter(
        conditions=_parse_group(plain, pointer),
        any_of=() if groups is None else _parse_any_of(groups, f"{pointer}/{_ANY_OF}"),
    )
    _check_cost(list(chain(parsed.conditions, *parsed.any_of)), pointer)
    return parsed


def load_filter(document: Mapping[str, Any]) -> Filter:
    """Return the filter that `parse_filter` made of *document* before; it is not checked again, which takes long."""
    groups = document[_ANY_OF] if isinstance(document.get(_ANY_OF), list) else []
    plain = {path: given for path, given in document.items() if path != _ANY_OF or not groups}
    return Filter(conditions=_load_group(plain), any_of=tuple(map(_load_group, groups)))


def _load_group(group: Mapping[str, Any]) -> Conditions:
    return tuple(
        Condition.of(path, one)
        for path, given in group.items()
        for one in (given if isinstance(given, list) else [given])
    )


def _check_cost(conditions: list[Condition], pointer: str) -> None:
    """Refuse what, with the bounds of `broker.filters.contexts`, would still let one filter keep a worker busy."""
    for what, count, limit in (
        ("conditions", len(conditions), MAX_CONDITIONS),
        ("REGEX conditions", sum(condition.operator == "REGEX" for condition in conditions), MAX_REGEXES),
        (f"conditions on {ANY}", sum(ANY in condition.path for condition in conditions), MAX_ANY_ELEMENTS),
    ):
        if count > limit:
            raise InvalidField(pointer, f"has {count} {what}; a filter has at most {limit}")


def _parse_any_of(groups: list[Any], pointer: str) -> tuple[Conditions, ...]:
    if not groups:
        raise InvalidField(pointer, "must hold at least one group of conditions")
    for position, group in enumerate(groups):
        if not isinstance(group, dict) or not group:
            raise InvalidField(
                f"{pointer}/{position}", "must be a JSON object that has a condition for at least one path"
            )
    return tuple(_parse_group(group, f"{pointer}/{position}") for position, group in enumerate(groups))


def _parse_group(group: Mapping[str, Any], pointer: str) -> Conditions:
    conditions: list[Condition] = []
    for path, given in group.items():
        here = pointer_to(pointer, path)
        _check_text(path, here, what="a path", limit=MAX_PATH_CHARACTERS)
        if path == "":
            raise InvalidField(here, "is the empty path; a path has at least one character")
        if not isinstance(given, list):
            conditions.append(_parse_condition(path, given, here))
        elif given:
            conditions += (_parse_condition(path, one, f"{here}/{index}") for index, one in enumerate(given))
        else:
            raise InvalidField(here, "must hold at least one condition")
    return tuple(conditions)


def _parse_condition(path: str, given: object, pointer: str) -> Condition:
    if not isinstance(given, dict):
        raise InvalidField(
            pointer,
            "must be a condition, or a list of conditions that all hold; equality is"
            ' {"operator": "IN", "values": ["..."]}',
        )
    for member in given:
        if member not in _MEMBERS:
            raise InvalidField(
                pointer_to(pointer, member),
                f"is not a member of a condition; those are {', '.join(_MEMBERS)}",
            )
    given = {member: value for member, value in given.items() if value is not None}
    for flag in _FLAGS:
        if not isinstance(given.get(flag), bool | None):
            raise InvalidField(f"{pointer}/{flag}", "must be true or false")
    name = given.get("operator")
    operator = OPERATORS.get(name) if isinstance(name, str) else None
    if operator is None:
        raise InvalidField(f"{pointer}/operator", f"must be one of {', '.join(OPERATORS)}")
    for place, value in _values_of(name, operator, given, pointer):
        _check_value(value, f"{pointer}/{place}", operator)
    return Condition.of(path, given)


def _values_of(
    name: object, operator: Operator, given: Mapping[str, Any], pointer: str
) -> Iterable[tuple[str, object]]:
    """Return the values with their places in the condition, if they are where *operator* takes them from."""
    place, other = ("values", "value") if operator.takes_list else ("value", "values")
    # What Unleash exports has both, and the one that the operator does not take is empty.
    if given.get(other, "") not in ("", []):
        raise InvalidField(f"{pointer}/{other}", f"cannot be given with {name}, which takes {place}")
    if not operator.takes_list:
        if place not in given:
            raise InvalidField(f"{pointer}/{place}", f"is required: {name} takes one value")
        return [(place, given[place])]
    values = given.get(place)
    if not isinstance(values, list) or len(values) < operator.least:
        least = " with at least one value" if operator.least else ""
        raise InvalidField(f"{pointer}/{place}", f"must be a list{least}: {name} takes several")
    if len(values) > MAX_VALUES:
        raise InvalidField(f"{pointer}/{place}", f"has {len(values)} values; a condition has at most {MAX_VALUES}")
    return [(f"{place}/{index}", value) for index, value in enumerate(values)]


def _check_value(value: object, pointer: str, operator: Operator) -> None:
    if not isinstance(value, str | int | float):
        raise InvalidField(pointer, "must be a string, a number or a boolean")
    text = string(value)
    _check_text(text, pointer, what="a value", limit=MAX_VALUE_CHARACTERS)
    problem = operator.problem(text)
    if problem is not None:
        raise InvalidField(pointer, problem)


def _check_text(text: str, pointer: str, *, what: str, limit: int) -> None:
    if len(text) > limit:
        raise InvalidField(pointer, f"has {len(text)} characters; {what} has at most {limit}")
    found = _UNSTORABLE.search(text)
    if found:
        raise InvalidField(pointer, f"contains the character U+{ord(found.group()):04X}, which is not allowed here")


def _document(conditions: Conditions) -> dict[str, Any]:
    """Return the conditions by their paths: one as such, several as a list."""
    by_path: dict[str, list[dict[str, Any]]] = {}
    for condition in conditions:
        by_path.setdefault(condition.path, []).append(condition.document)
    return {path: documents[0] if len(documents) == 1 else documents for path, documents in by_path.items()}


def _first_mismatch(conditions: Conditions, context: Context) -> Steps[str | None]:
    for condition in conditions:
        reason = yield from condition.steps(context)
        if reason is not None:
            return reason
    return None


def _mismatch_at_once(conditions: Conditions, context: Context, limit: int) -> str | Long | None:
    for condition in conditions[:_AT_ONCE]:
        reason = condition.mismatch_at_once(context)
        if reason is not None:
            return reason
        if context.looks > limit:
            return LONG
    return None if len(conditions) <= _AT_ONCE else LONG


def _no_group(first: str | None) -> str:
    return f"no group of anyOf holds; of the first one, {first}"
