import itertools
import re
import sys
import time
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import InvalidField
from broker.names import (
    check_id,
    check_name,
    check_throwable,
    covers,
    encode_id,
    expression,
    is_own,
    is_pattern,
    matches,
    pattern_key,
    pattern_keys,
)

WORDS = st.text("ab", max_size=2)
NAMES = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.lists(WORDS | st.sampled_from(["*", "#"]), min_size=1, max_size=5).map(".".join)
PATTERNS_OF_AB = st.lists(st.sampled_from("ab*#"), min_size=1, max_size=3).map(".".join)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("policy.changed", "policy.changed", True),
        ("policy.changed", "policy.Changed", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "ab", False),
        ("#.c", "c", True),
        ("#.c", "a.b.c", True),
        ("#.c", "a.b.cc", False),
        ("a.#.c", "a.c", True),
        ("a.#.c", "a.b.b.c", True),
        ("a.#.c", "ac", False),
        ("*.#", "a", True),
        ("#.*", "a.b", True),
        ("#", "", True),
        ("#.#", "a.b", True),
        ("a*", "a*", True),
        ("a*", "ab", False),
    ],
)
def test_a_pattern_matches_as_a_topic_exchange_does(pattern, name, expected):
    assert matches(pattern, name) is expected


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("#", "$broker.circuit.opened", False),
        ("*.circuit.opened", "$broker.circuit.opened", False),
        ("#.opened", "$broker.circuit.opened", False),
        ("*", "$broker", False),
        ("$broker.#", "$broker.circuit.opened", True),
        ("$broker.#", "$broker", True),
        ("$broker.*.opened", "$broker.circuit.opened", True),
        ("$broker.circuit.opened", "$broker.circuit.opened", True),
        ("#", "$brokerage.opened", True),
        ("#", "a.$broker.opened", True),
    ],
)
def test_a_pattern_matches_the_broker_s_own_names_only_if_it_begins_like_them(pattern, name, expected):
    assert matches(pattern, name) is expected
    assert (re.search(expression([pattern]), f".{name}") is not None) is expected
    assert not expected or not is_pattern(pattern) or pattern_key(pattern) in pattern_keys(name)


@pytest.mark.parametrize(
    ("limits", "pattern", "expected"),
    [
        (["#"], "$broker.#", False),
        (["*.#"], "$broker.circuit.*", False),
        (["#"], "$broker.circuit.opened", False),
        (["$broker.#"], "$broker.circuit.*", True),
        (["$broker.#", "#"], "$broker.*", True),
        (["$broker.#"], "#", False),
        (["#"], "$brokerage.*", True),
    ],
)
def test_limits_cover_the_broker_s_own_names_only_if_they_name_them(limits, pattern, expected):
    assert covers(limits, pattern) is expected


@pytest.mark.parametrize("name", ["$broker", "$broker.", "$broker.circuit.opened", "$broker.mine"])
def test_nobody_throws_the_broker_s_own_names(name):
    assert is_own(name)
    with pytest.raises(InvalidField, match=r"\$broker"):
        check_throwable(name)


@pytest.mark.parametrize("name", ["$brokerage", "broker.x", "x.$broker.y", ""])
def test_other_names_may_be_thrown(name):
    assert not is_own(name)
    check_throwable(name)


def by_recursion(pattern, name):
    """The definition, word by word, without any cleverness."""
    if not pattern:
        return not name
    if pattern[0] == "#":
        return by_recursion(pattern[1:], name) or (bool(name) and by_recursion(pattern, name[1:]))
    return bool(name) and pattern[0] in {"*", name[0]} and by_recursion(pattern[1:], name[1:])


@given(PATTERNS, NAMES)
def test_matching_agrees_with_its_definition(pattern, name):
    assert matches(pattern, name) == by_recursion(pattern.split("."), name.split("."))


@given(st.lists(PATTERNS, max_size=3), NAMES)
def test_the_store_s_expression_finds_what_the_patterns_match(patterns, name):
    found = re.search(expression(patterns), f".{name}") is not None
    assert found == any(matches(pattern, name) for pattern in patterns)


def test_the_store_s_expression_takes_a_word_s_characters_for_what_they_are():
    assert re.search(expression(["a+b.c"]), ".a+b.c")
    assert not re.search(expression(["a+b.c"]), ".aab.c")


def lines_run(pattern, name):
    """How many lines it takes to find out that *pattern* does not match *name*."""
    count = 0

    def trace(_frame, _event, _argument):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        assert not matches(pattern, name)
    finally:
        sys.settrace(before)
    return count


def test_no_pattern_takes_more_steps_than_words_times_words():
    assert lines_run(".".join(["#", "a"] * 60), ".".join(["a"] * 120) + ".b") < 5 * 120 * 121


@pytest.mark.parametrize(
    ("limits", "pattern", "expected"),
    [
        (["order.*"], "order.#", False),
        (["order.*"], "order.*", True),
        (["order.*"], "*.*", False),
        (["*"], "#", False),
        (["*"], "*", True),
        (["#"], "#", True),
        (["*.#"], "#", True),
        (["#.*"], "*.#", True),
        (["*.paid"], "#.paid", False),
        (["#.paid"], "*.#.paid", True),
        (["a.*.c"], "a.#.c", False),
        (["a.#"], "a", True),
        (["a.#"], "a.*.#.b", True),
        (["a"], "a.#", False),
        (["a", "a.*.#"], "a.#", True),
        (["a", "a.*", "a.*.*"], "a.#", False),
        (["order.a", "order.b"], "order.*", False),
        (["#.a", "#.b"], "*.#.b", True),
        ([], "#", False),
        ([], "a", False),
    ],
)
def test_limits_cover_a_pattern_if_they_match_all_that_it_matches(limits, pattern, expected):
    assert covers(limits, pattern) is expected


EVERY_NAME = [".".join(words) for count in range(1, 6) for words in itertools.product("abz", repeat=count)]
"""No limit has the word z, and what tells patterns of three words apart takes no more than five."""


@cache
def matched_by(pattern):
    return frozenset(name for name in EVERY_NAME if matches(pattern, name))


@pytest.mark.slow
@given(st.lists(PATTERNS_OF_AB, max_size=3), PATTERNS_OF_AB)
@settings(max_examples=400)
def test_covering_agrees_with_an_enumeration_of_names(limits, pattern):
    assert covers(limits, pattern) == (matched_by(pattern) <= frozenset().union(*map(matched_by, limits)))


def test_what_takes_too_long_to_follow_is_not_covered():
    limits = ["#.a" + ".*" * 50, "#"]
    began = time.process_time()
    assert not covers(limits, ".".join(["#", "a"] * 60))
    assert time.process_time() - began < 5


def test_a_pattern_is_a_name_with_a_wild_word():
    assert is_pattern("a.*")
    assert is_pattern("#")
    assert not is_pattern("a*b.c#")


def test_ids_are_one_word_of_a_routing_key():
    assert encode_id("a.b/c~é _-Z9") == "a%2Eb%2Fc%7E%C3%A9%20_-Z9"


@pytest.mark.parametrize("name", ["a\x00b", "a\nb", "\x7f", "\ud800", "é" * 128, "a" * 256])
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(InvalidField) as refused:
        check_name(name)
    assert refused.value.pointer == "/name"


def test_the_longest_name_is_255_bytes():
    assert check_name("é" * 127 + "a")


def test_an_id_has_at_most_255_characters():
    assert check_id("é" * 255, "/tenantId")
    with pytest.raises(InvalidField, match="has 256 characters"):
        check_id("é" * 256, "/tenantId")


LONG_NAMES = st.lists(WORDS, min_size=1, max_size=14).map(".".join)
LONG_PATTERNS = st.lists(WORDS | st.sampled_from(["*", "#"]), min_size=1, max_size=14).map(".".join).filter(is_pattern)


@st.composite
def matching(draw):
    """A pattern and a name that it matches: some of the name's words are wild."""
    words = draw(LONG_NAMES).split(".")
    wild = [draw(st.sampled_from([[word], ["*"], ["#"], ["#", word], ["#", "*"]])) for word in words]
    return ".".join(itertools.chain.from_iterable(wild)), ".".join(words)


@given(matching() | st.tuples(LONG_PATTERNS, LONG_NAMES))
def test_a_name_has_the_keys_of_all_patterns_that_match_it(pair):
    pattern, name = pair
    if is_pattern(pattern) and matches(pattern, name):
        assert pattern_key(pattern) in pattern_keys(name)


def test_a_name_has_few_keys_and_not_those_of_patterns_with_other_words():
    keys = pattern_keys("order.paid.eu")
    assert len(keys) < 20
    assert len(pattern_keys(".".join("x" * 128))) < 500
    others = ["order.*.us", "order.refunded.#", "*.refunded.#", "#.us", "#.us.*", "shop.#", "order.paid.us.#"]
    assert keys.isdisjoint(map(pattern_key, others))
