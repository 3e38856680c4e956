"""What filters are found by: a payload that a filter matches has one of the values that the filter is found by."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from broker.filters import Context, parse_filter
from broker.filters.access import access_to, texts_for
from tests.support.filtering import FILTERS, PAYLOADS


@pytest.mark.slow
@given(made=FILTERS, payload=PAYLOADS)
@settings(max_examples=500)
def test_what_matches_is_found(made, payload):
    access = access_to(made.conditions)
    context = Context.of(payload)
    if access is not None and made.mismatch(context) is None:
        assert texts_for(access.path, context.texts(access.path[1:])) & access.values


def found_by(document):
    access = access_to(parse_filter(document).conditions)
    return None if access is None else (access.path, sorted(access.values))


def test_a_filter_is_found_by_the_condition_with_the_fewest_values_and_then_the_shortest_path():
    several = {"operator": "IN", "values": ["x", "y"]}
    assert found_by({"a": several, "longer": {"operator": "IN", "values": [" z "]}}) == ("=longer", ["z"])
    assert found_by({"bb": several, "a": several}) == ("=a", ["x", "y"])
    assert found_by({"a": [{"operator": "NUM_GT", "value": 1}, several]}) == ("=a", ["x", "y"])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"operator": "IN", "values": [7, True, 1.5]}, ("=p", ["1.5", "7", "true"])),
        ({"operator": "IN", "values": []}, ("=p", [])),
        ({"operator": "IN", "values": ["Abc"], "caseInsensitive": True}, ("=p", ["Abc"])),
        ({"operator": "IN", "values": ["a"], "inverted": True}, None),
        ({"operator": "NOT_IN", "values": ["a"]}, None),
        ({"operator": "NOT_IN", "values": ["a"], "inverted": True}, None),
        ({"operator": "IN", "values": [f"{number}" for number in range(33)]}, None),
        ({"operator": "NUM_EQ", "value": 90}, ("#p", ["90"])),
        ({"operator": "NUM_EQ", "value": "-0"}, None),
        ({"operator": "NUM_EQ", "value": "9007199254740993"}, None),
        ({"operator": "STR_CONTAINS", "values": ["a"]}, None),
    ],
)
def test_equality_is_what_a_filter_is_found_by(condition, expected):
    assert found_by({"p": condition}) == expected


def test_a_group_of_conditions_is_nothing_that_a_filter_is_found_by():
    assert found_by({"anyOf": [{"a": {"operator": "IN", "values": ["x"]}}]}) is None
    assert found_by({"anyOf": {"operator": "IN", "values": ["x"]}}) == ("=anyOf", ["x"])


def test_a_long_path_is_nothing_that_a_filter_is_found_by():
    condition = {"operator": "IN", "values": ["x"]}
    assert found_by({"p" * 255: condition}) is not None
    assert found_by({"p" * 254 + "ä": condition}) is None
