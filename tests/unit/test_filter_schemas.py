"""Which filters can be created, and how they are shown."""

import pytest

from broker.errors import InvalidField
from broker.filters import parse_filter
from broker.jsontext import encode

IN = {"operator": "IN", "values": ["x"]}


def refused(document):
    with pytest.raises(InvalidField) as caught:
        parse_filter(document)
    return caught.value.pointer, caught.value.detail


@pytest.mark.parametrize(
    ("document", "pointer", "detail"),
    [
        ([], "/filter", "must be a JSON object"),
        ("x", "/filter", "must be a JSON object"),
        (None, "/filter", "must be a JSON object"),
        ({"cpu": "92"}, "/filter/cpu", 'equality is {"operator": "IN", "values": ["..."]}'),
        ({"cpu": None}, "/filter/cpu", "must be a condition"),
        ({"cpu": []}, "/filter/cpu", "must hold at least one condition"),
        ({"cpu": ["92"]}, "/filter/cpu/0", "must be a condition"),
        ({"cpu": [IN, [IN]]}, "/filter/cpu/1", "must be a condition"),
        ({"": IN}, "/filter/", "the empty path"),
        ({"p" * 501: IN}, f"/filter/{'p' * 501}", "has 501 characters; a path has at most 500"),
        ({"a\0": IN}, "/filter/a\0", "contains the character U+0000"),
        ({"a\ud800": IN}, "/filter/a\ud800", "contains the character U+D800"),
        ({"a/b~c": {}}, "/filter/a~1b~0c/operator", "must be one of IN, NOT_IN, STR_CONTAINS"),
        ({"v": {"operator": "in", "values": ["x"]}}, "/filter/v/operator", "must be one of IN"),
        ({"v": {"operator": ["IN"], "values": ["x"]}}, "/filter/v/operator", "must be one of IN"),
        ({"v": IN | {"caseinsensitive": True}}, "/filter/v/caseinsensitive", "is not a member of a condition"),
        ({"v": IN | {"inverted": "true"}}, "/filter/v/inverted", "must be true or false"),
        ({"v": IN | {"caseInsensitive": 1}}, "/filter/v/caseInsensitive", "must be true or false"),
        ({"v": {"operator": "IN"}}, "/filter/v/values", "must be a list: IN takes several"),
        ({"v": {"operator": "IN", "values": "x"}}, "/filter/v/values", "must be a list"),
        ({"v": {"operator": "IN", "value": "x"}}, "/filter/v/value", "cannot be given with IN, which takes values"),
        (
            {"v": {"operator": "NUM_GT", "values": ["1"]}},
            "/filter/v/values",
            "cannot be given with NUM_GT, which takes value",
        ),
        ({"v": IN | {"value": "y"}}, "/filter/v/value", "cannot be given with IN"),
        (
            {"v": {"operator": "STR_CONTAINS", "values": []}},
            "/filter/v/values",
            "must be a list with at least one value",
        ),
        ({"v": {"operator": "IN", "values": ["x"] * 251}}, "/filter/v/values", "has 251 values"),
        ({"v": {"operator": "IN", "values": ["x", None]}}, "/filter/v/values/1", "must be a string, a number or a"),
        ({"v": {"operator": "IN", "values": [["x"]]}}, "/filter/v/values/0", "must be a string, a number or a"),
        ({"v": {"operator": "IN", "values": ["x" * 1001]}}, "/filter/v/values/0", "has 1001 characters"),
        ({"v": {"operator": "IN", "values": ["\0"]}}, "/filter/v/values/0", "contains the character U+0000"),
        ({"v": {"operator": "NUM_GT"}}, "/filter/v/value", "is required: NUM_GT takes one value"),
        ({"v": {"operator": "NUM_GT", "value": None}}, "/filter/v/value", "is required"),
        ({"v": {"operator": "NUM_GT", "value": {}}}, "/filter/v/value", "must be a string, a number or a boolean"),
        ({"v": {"operator": "NUM_GT", "value": ""}}, "/filter/v/value", "must be a number"),
        ({"v": {"operator": "NUM_GT", "value": "9,2"}}, "/filter/v/value", "must be a number"),
        ({"v": {"operator": "NUM_GT", "value": True}}, "/filter/v/value", "must be a number"),
        ({"v": {"operator": "SEMVER_EQ", "value": "v1.2.3"}}, "/filter/v/value", "without a leading v"),
        ({"v": {"operator": "SEMVER_EQ", "value": " 1.2.3"}}, "/filter/v/value", "must be a version"),
        ({"v": {"operator": "SEMVER_EQ", "value": "1.2"}}, "/filter/v/value", "must be a version"),
        ({"v": {"operator": "SEMVER_EQ", "value": "1.02.3"}}, "/filter/v/value", "must be a version"),
        ({"v": {"operator": "REGEX", "value": "("}}, "/filter/v/value", "missing ): ("),
        ({"v": {"operator": "REGEX", "value": "(?=a)"}}, "/filter/v/value", "invalid perl operator"),
        ({"v": {"operator": "REGEX", "value": r"(a)\1"}}, "/filter/v/value", "invalid escape sequence"),
        ({"v": {"operator": "REGEX", "value": "a{1000}b{600}"}}, "/filter/v/value", "too large"),
        ({"v": {"operator": "REGEX", "value": r"\pL{1000}"}}, "/filter/v/value", "too large"),
        ({"v": {"operator": "IN_CIDR", "values": ["10.0.0.0/8", "x"]}}, "/filter/v/values/1", "must be an IP address"),
        ({"v": {"operator": "IN_CIDR", "values": ["10.0.0.0/33"]}}, "/filter/v/values/0", "must be an IP address"),
        ({"v": {"operator": "IN_CIDR", "values": ["10.0.0.0/255.0.0.0"]}}, "/filter/v/values/0", "must be an IP"),
        ({"v": {"operator": "DATE_AFTER", "value": "yesterday"}}, "/filter/v/value", "must be a date"),
        ({"v": {"operator": "DATE_AFTER", "value": "2026-02-30"}}, "/filter/v/value", "must be a date"),
        ({"v": {"operator": "DATE_AFTER", "value": "2026-02-01T00:00:00"}}, "/filter/v/value", "must be a date"),
        ({"v": {"operator": "DATE_AFTER", "value": 1800000000}}, "/filter/v/value", "must be a date"),
        ({"anyOf": []}, "/filter/anyOf", "must hold at least one group"),
        ({"anyOf": ["x"]}, "/filter/anyOf/0", "a condition for at least one path"),
        ({"anyOf": [{"v": IN}, {}]}, "/filter/anyOf/1", "a condition for at least one path"),
        ({"anyOf": [{"v": {"operator": "IN"}}]}, "/filter/anyOf/0/v/values", "must be a list"),
        ({"anyOf": [{"anyOf": [{"v": IN}]}]}, "/filter/anyOf/0/anyOf/0/v", "is not a member of a condition"),
        ({"anyOf": "x"}, "/filter/anyOf", "must be a condition"),
        ({f"p{i}": IN for i in range(51)}, "/filter", "has 51 conditions; a filter has at most 50"),
        ({"v": [IN] * 30, "anyOf": [{"v": IN}] * 21}, "/filter", "has 51 conditions"),
        (
            {"v": [{"operator": "REGEX", "value": "x"}] * 2, "anyOf": [{"v": {"operator": "REGEX", "value": "x"}}] * 2},
            "/filter",
            "has 4 REGEX conditions; a filter has at most 3",
        ),
        ({"v[*]": [IN] * 6, "w[*].x": [IN] * 5}, "/filter", "has 11 conditions on [*]; a filter has at most 10"),
        ({"v": {"operator": "IN", "values": ["x" * 1000] * 40}}, "/filter", "a filter has at most 32768"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place_and_what_is_allowed(document, pointer, detail):
    found_pointer, found_detail = refused(document)
    assert found_pointer == pointer
    assert detail in found_detail


def test_the_pointer_begins_where_the_filter_is():
    with pytest.raises(InvalidField, match=r"^/match/payload/v/operator: "):
        parse_filter({"v": {}}, "/match/payload")


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ({}, {}),
        (
            {"cpu": {"operator": "NUM_GT", "value": 90, "values": [], "inverted": False, "caseInsensitive": None}},
            {"cpu": {"operator": "NUM_GT", "value": "90"}},
        ),
        (
            {"v": {"operator": "NOT_IN", "value": "", "values": [92, 1.0, True, " x "], "caseInsensitive": True}},
            {"v": {"operator": "NOT_IN", "values": ["92", "1", "true", " x "], "caseInsensitive": True}},
        ),
        ({"v": [IN]}, {"v": IN}),
        ({"v": [IN, IN | {"inverted": True}]}, {"v": [IN, IN | {"inverted": True}]}),
        ({"anyOf": [{"v": IN}], "w": IN}, {"w": IN, "anyOf": [{"v": IN}]}),
        ({"anyOf": IN}, {"anyOf": IN}),
        ({"anyOf": [{"anyOf": [IN, IN]}]}, {"anyOf": [{"anyOf": [IN, IN]}]}),
        ({"v": {"operator": "IN", "values": []}}, {"v": {"operator": "IN", "values": []}}),
        ({"v": {"operator": "REGEX", "value": "^a", "inverted": True}},) * 2,
    ],
)
def test_a_filter_is_shown_as_it_was_meant_and_reads_the_same_again(document, shown):
    parsed = parse_filter(document)
    assert parsed.document == shown
    assert parse_filter(parsed.document) == parsed


def test_a_filter_may_be_as_large_as_its_limits():
    conditions = {
        "p" * 500: {"operator": "STR_CONTAINS", "values": ["x"] * 250},
        "v": [IN] * 29,
        "anyOf": [{"v": IN}] * 20,
    }
    assert parse_filter(conditions).document == conditions


def sized(size):
    """A filter that is *size* bytes long as JSON."""
    document = {"v": {"operator": "IN", "values": ["x" * 1000] * 32 + [""]}}
    document["v"]["values"][-1] = "x" * (size - len(encode(document)))
    return document


def test_a_filter_of_32_kib_is_taken_and_one_byte_more_is_not():
    parse_filter(sized(32 * 1024))
    assert refused(sized(32 * 1024 + 1)) == ("/filter", "is 32769 bytes long; a filter has at most 32768")
