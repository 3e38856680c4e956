"""Paths in payloads: the same as if everything were flattened, and never more work than the payload is large."""

import re
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.filters import Context
from broker.filters.javascript import string
from broker.jsontext import encode

NAMES = st.sampled_from(["a", "b", "a.b", "a[0]", "a[0].b", "0", "1", "1.a", "", ".a", "a.", "[0]", "[*]", "b[*]"])
LEAVES = st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["", "x"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
PIECES = st.sampled_from(
    ["a", "b", ".a", ".b", "[0]", "[1]", "[*]", ".0", ".1", "0", "1", ".", "[", "[*", "[00]", ".00"]
)
PATHS = st.lists(PIECES, min_size=1, max_size=5).map("".join)


def flattened(value: Any, path: str = "", *, any_element: bool = False) -> list[tuple[str, Any]]:
    """Every leaf with its path, as Unleash flattens; or with ``[*]`` in the place of some elements, too."""
    is_array = isinstance(value, list)
    members = [(str(index), child) for index, child in enumerate(value)] if is_array else list(value.items())
    members.sort(key=lambda member: not re.fullmatch(r"0|[1-9]\d*", member[0]))
    leaves: list[tuple[str, Any]] = []
    for name, child in members:
        paths = [f"{path}.{name}" if path else name] + [f"{path}[*]"] * (is_array and any_element)
        for here in paths:
            if isinstance(child, dict):
                leaves += flattened(child, here, any_element=any_element)
            elif isinstance(child, list):
                for index, element in enumerate(child):
                    for place in [f"{here}[{index}]"] + [f"{here}[*]"] * any_element:
                        if isinstance(element, dict | list):
                            leaves += flattened(element, place, any_element=any_element)
                        else:
                            leaves.append((place, element))
            else:
                leaves.append((here, child))
    return leaves


@pytest.mark.slow
@given(OBJECTS, st.lists(PATHS, max_size=5))
@example({"1.a": 1, "1": {"a": 2}}, [])
@example({"a": {"b": None}, "a.b": 1}, [])
@example({"a.b": 1, "a": {"b": None}}, [])
def test_looking_up_paths_finds_what_flattening_everything_finds(payload, further):
    context = Context.of(encode(payload))
    everything = dict(flattened(payload))
    for path in [*everything, *further]:
        value = everything.get(path)
        if path and "[*]" not in path:
            assert context.texts(path) == (() if value is None else (string(value),))


@pytest.mark.slow
@given(OBJECTS, st.lists(PATHS, max_size=5))
def test_looking_up_paths_with_any_element_finds_them_all(payload, further):
    context = Context.of(encode(payload))
    everything = flattened(payload, any_element=True)
    for path in {path for path, _ in everything if "[*]" in path} | {path for path in further if "[*]" in path}:
        expected = sorted(string(value) for here, value in everything if here == path and value is not None)
        assert sorted(context.texts(path)) == expected


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("a", ()),
        ("a[0]", ("1",)),
        ("a[2].z", ("3",)),
        ("a[3].0", ("4",)),
        ("a[3][0]", ()),
        ("a[9]", ()),
        ("a[*]", ("1", "two")),
        ("a[*].z", ("3",)),
        ("a[*].0", ("4",)),
        ("a[*][*]", ("4", "5")),
        ("a[3][*]", ("4", "5")),
        ("[*]", ()),
    ],
)
def test_elements_are_addressed_like_this(path, texts):
    context = Context.of(b'{"a":[1,"two",{"z":3},[4,5],null,[],{}]}')
    assert context.texts(path) == texts


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[1]",
        b'"a"',
        b"null",
        b"5",
        b'{"a":1',
        b'{"a":NaN}',
        b'\xff{"a":1}',
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000,
    ],
)
def test_what_is_no_object_has_no_paths(payload):
    assert Context.of(payload).texts("a") == ()
    assert Context.of(payload).texts("[0]") == ()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (b"1.0", "1"),
        (b"-0", "0"),
        (b"-0.0", "0"),
        (b"1e3", "1000"),
        (b"9007199254740993", "9007199254740992"),
        (b"123456789012345680000", "123456789012345680000"),
        (b"1e21", "1e+21"),
        (b"-1000000000000000000000", "-1e+21"),
        (b"0.000001", "0.000001"),
        (b"-1.5e-7", "-1.5e-7"),
        (b"1e400", "Infinity"),
        (b"-1e400", "-Infinity"),
        (b"9" * 400, "Infinity"),
        (b"-" + b"9" * 400, "-Infinity"),
    ],
)
def test_numbers_become_texts_as_in_javascript(number, text):
    assert Context.of(b'{"v":' + number + b"}").texts("v") == (text,)
    # A lone surrogate is what the fast parser refuses.
    assert Context.of(b'{"s":"\\ud800","v":' + number + b"}").texts("v") == (text,)


def test_of_a_repeated_member_the_last_value_counts():
    assert Context.of(b'{"a":1,"b":2,"a":3}').texts("a") == ("3",)


def work(payload: bytes, path: str) -> int:
    """Return how many bytecode lines and calls it takes to look *path* up in *payload*, parsing excluded."""
    context = Context.of(payload)
    context.texts("read it")
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        context.texts(path)
    finally:
        sys.settrace(before)
    return count


def tree(depth: int) -> bytes:
    """Every path from the top down is the same path, spelled otherwise."""
    return b"1" if depth == 0 else b'{"a":%b,"a.a":%b,"b":{}}' % (tree(depth - 1), tree(depth - 1))


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (b'{"a":[' + b"1," * 9999 + b"1]}", "a[*]"),
        (b'{"a":[' + b'{"b":1},' * 9999 + b"1]}", "a[*]" + ".b" * 248),
        (b'{"a":[' + b"[]," * 9999 + b"1]}", "a" + "[*]" * 160),
        (tree(11), ".".join("a" * 250)),
        (b'{"a":' * 240 + b"1" + b"}" * 240, ".".join("a" * 250)),
    ],
    ids=["numbers", "objects", "arrays", "ambiguous", "deep"],
)
def test_no_path_costs_more_than_a_walk_over_the_payload(payload, path):
    assert work(payload, path) < 8 * len(payload) + len(path) ** 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (b'{"a":[' + b"1," * 99_999 + b"1]}", "a[*]"),
        (b'{"a":[' + b'{"b":1},' * 99_999 + b"1]}", "a[*]" + ".b" * 248),
        (b'{"a":[' + b"[]," * 99_999 + b"1]}", "a" + "[*]" * 160),
        (tree(14), ".".join("a" * 250)),
        (b'{"a":' * 240 + b"1" + b"}" * 240, ".".join("a" * 250)),
    ],
    ids=["numbers", "objects", "arrays", "ambiguous", "deep"],
)
def test_no_path_costs_more_than_so_much_whatever_the_payload(payload, path):
    assert work(payload, path) < 200_000


def test_any_element_is_one_of_the_first_thousand():
    assert Context.of(encode({"a": list(range(1500))})).texts("a[*]") == tuple(map(str, range(1000)))
    assert len(Context.of(encode({"a": [[1] * 600] * 3})).texts("a[*][*]")) == 1000


def test_a_thousand_elements_may_have_what_is_asked_for_five_levels_down():
    element = {"b": {"c": {"d": {"e": {"f": 1}}}}}
    assert len(Context.of(encode({"a": [element] * 1000})).texts("a[*].b.c.d.e.f")) == 1000


@pytest.mark.parametrize(("elements", "numbers", "found"), [(925, 14, 925), (925, 15, 0), (926, 0, 0)])
def test_a_path_is_given_up_after_25_000_looks(elements, numbers, found):
    """Six levels below an element are 7 values and 20 names to look at; a number is one; above them are 11."""
    element = {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}
    context = Context.of(encode({"a": [element] * elements + [0] * numbers}))
    assert len(context.texts("a[*].b.c.d.e.f.g")) == found


def test_texts_for_which_there_is_no_room_are_left_out():
    context = Context.of(encode({"a": "x" * 32768, "b": "x" * 32769, "l": ["x" * 32576, "y" * 193, "z" * 192, "z"]}))
    assert context.texts("a") == ("x" * 32768,)
    assert context.texts("b") == ()
    assert context.texts("l[*]") == ("x" * 32576, "z" * 192)


def test_a_path_that_is_ambiguous_in_a_huge_object_is_missing():
    """Which one is later takes a look at all members; that one of them is there alone takes none."""
    further = {f"k{index}": 0 for index in range(25_001)}
    assert Context.of(encode({"a": {"b": 1}} | further)).texts("a.b") == ("1",)
    assert Context.of(encode({"a": {"b": 1}, "a.b": 2} | further)).texts("a.b") == ()


def test_an_element_is_found_without_a_look_at_the_others():
    assert work(b'{"a":[' + b"1," * 1999 + b"1]}", "a[1999]") < 200


def test_long_names_are_not_repeated_for_all_that_is_below_them():
    """Flattening would make a path of a megabyte for each of the ten thousand elements."""
    name = "k" * 1_000_000
    assert work(encode({name: [{"b": 1}] * 10_000, "a": 1}), "a") < 200


def test_a_path_is_looked_up_once():
    context = Context.of(b'{"a":[1,2,3]}')
    assert context.texts("a[*]") is context.texts("a[*]")
