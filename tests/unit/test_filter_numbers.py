"""Numbers and regular expressions: as JavaScript reads them, and within bounds."""

from math import inf, isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.filters import Condition, Context
from broker.filters.javascript import number, string
from broker.filters.operators import MAX_PROGRAM, OPERATORS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0.0),
        (" \t\n\v\f\r\xa0\u2003\u2028\ufeff", 0.0),
        ("\ufeff 7 \u2029", 7.0),
        ("92", 92.0),
        ("92.", 92.0),
        (".5", 0.5),
        ("+1.5E+3", 1500.0),
        ("-1e-3", -0.001),
        ("007", 7.0),
        ("1e400", inf),
        ("-Infinity", -inf),
        ("+Infinity", inf),
        ("0x1F", 31.0),
        ("0XfF", 255.0),
        ("0o17", 15.0),
        ("0B101", 5.0),
        ("0x" + "f" * 400, inf),
        ("9007199254740993", 9007199254740992.0),
    ],
)
def test_numbers_are_read_as_in_javascript(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "9,2",
        "1_000",
        "1e",
        "e1",
        ".",
        "+",
        "--1",
        "-0x10",
        "0x",
        "0b2",
        "0o8",
        "inf",
        "nan",
        "true",
        "1 2",
        "٣",
        "\x857",
    ],
)
def test_what_is_no_number_in_javascript_is_none(text):
    assert isnan(number(text))


@given(st.floats(allow_nan=False))
def test_every_number_is_read_as_it_was_written(value):
    assert number(string(value)) == value


@given(st.integers(-(10**30), 10**30))
def test_integers_are_written_as_the_doubles_they_are_in_javascript(value):
    assert string(value) == string(float(value))


@given(st.text(alphabet="0123456789.eE+-x_ Infaby\ufeff", max_size=8))
def test_any_text_is_a_number_or_none(text):
    assert isinstance(number(text), float)


def test_a_pattern_that_would_take_long_is_refused():
    """A long text and a large pattern: at most `MAX_PROGRAM` steps for each byte, whatever both of them are."""
    problem = OPERATORS["REGEX"].problem
    assert problem("(a|b)*a(a|b){400}c") is None
    assert problem(r"^\p{L}+ [a-z]{1,100}@\w+$") is None
    assert problem(f"[ab]{{{MAX_PROGRAM - 500}}}c{{1000}}") is not None
    assert problem("(" * 499 + ")" * 499) is None
    assert problem("a{1000}b{496}") is None, "that are 1500 instructions"
    assert problem("a{1000}b{497}") is not None


def test_a_pattern_that_backtracks_elsewhere_is_searched_in_one_pass():
    """With backtracking this would not end in anybody's lifetime."""
    condition = Condition(path="v", operator="REGEX", values=("(a*)*(a|aa)+(b?){50}$",))
    assert condition.mismatch(Context.of(b'{"v":"' + b"a" * 8000 + b'!"}')) is not None


def test_many_digits_and_an_end_that_spoils_them_are_read_in_one_pass():
    assert isnan(number("1" * 1_000_000 + "x"))
    assert isnan(number("0x" + "f" * 1_000_000 + "g"))
    assert number("1" * 1_000_000) == inf


@pytest.mark.slow
@pytest.mark.parametrize("operator", OPERATORS)
@given(text=st.text() | st.text("0123456789.-+:/avTZ ", max_size=40), value=st.text(max_size=20))
def test_no_operator_fails_whatever_it_is_given(operator, text, value):
    for values in ((), (value,), (value, text)):
        test = OPERATORS[operator].test(values)
        assert isinstance(test(text), bool)
