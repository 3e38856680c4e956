import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.jsontext import MAX_NESTING, STYLES, Infinite, check, encode, read, read_doubles, read_first, write

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)

BLANKS = st.sampled_from(["", "", " ", "\n", "\r\n  ", "\t"])
ESCAPES = {"/": "\\/", "\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


@st.composite
def spelled(draw, value):
    """Return *value* as one of the JSON texts that mean it: blanks, escapes and numbers as the writer likes."""
    if isinstance(value, str):
        return f'"{"".join(draw(_character(character)) for character in value)}"'
    if isinstance(value, float):
        return draw(st.sampled_from([repr(value), f"{value:.20e}", f"{value:.17E}".replace("E+", "E")]))
    if isinstance(value, list):
        parts = [draw(spelled(one)) for one in value]
        return draw(_joined("[", parts, "]"))
    if isinstance(value, dict):
        pairs = [(draw(spelled(name)), draw(spelled(one))) for name, one in value.items()]
        if pairs and draw(st.booleans()):
            pairs.insert(0, (pairs[-1][0], draw(st.sampled_from(["null", "[ 0 ]"]))))
        return draw(_joined("{", [f"{name}{draw(BLANKS)}:{draw(BLANKS)}{one}" for name, one in pairs], "}"))
    return json.dumps(value)


@st.composite
def _character(draw, character):
    units = character.encode("utf-16-be")
    code = "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))
    plain = character if character >= " " and character not in '"\\' else code
    return draw(st.sampled_from([plain, plain, code, ESCAPES.get(character, plain)]))


@st.composite
def _joined(draw, opening, parts, closing):
    blank = draw(BLANKS)
    return opening + blank + f"{blank},{draw(BLANKS)}".join(parts) + draw(BLANKS) + closing


JSON_TEXT = st.tuples(BLANKS, JSON.flatmap(spelled), BLANKS).map("".join)
"""Any JSON text, written in any way."""


@given(JSON, st.sampled_from(STYLES))
def test_what_is_written_in_any_style_is_read_again(value, style):
    assert repr(read(write(value, style))) == repr(value)


def test_styles_differ_in_blanks_and_in_escapes():
    value = {"a": "é", "b": [1, 2]}
    assert {style: write(value, style) for style in STYLES} == {
        "compact": '{"a":"é","b":[1,2]}',
        "compact-ascii": '{"a":"\\u00e9","b":[1,2]}',
        "spaced": '{"a": "é", "b": [1, 2]}',
        "spaced-ascii": '{"a": "\\u00e9", "b": [1, 2]}',
    }


@pytest.mark.parametrize("text", ["", " ", "NaN", "[Infinity]", "-Infinity", "{'a':1}", "[1,]", "01", '"\t"', "1 2"])
def test_what_is_not_one_json_value_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        read(text)


def test_the_first_value_is_read_without_a_look_at_the_rest():
    assert read_first(' {"a":1} garbage') == {"a": 1}


def test_of_a_repeated_key_the_last_value_counts():
    assert read('{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_documents_nest_to_a_fixed_depth_whoever_asks(opening):
    closing = {"[": "]", '{"a":': "}"}[opening]
    deepest = opening * MAX_NESTING + "1" + closing * MAX_NESTING
    assert write(read(deepest)) == deepest
    for text in (f"[{deepest}]", opening * 100_000):
        with pytest.raises(ValueError, match="nested too deep"):
            read(text)


def test_many_brackets_side_by_side_are_not_deep():
    assert len(read("[" + "[]," * 10_000 + '"["]')) == 10_001


@pytest.mark.parametrize(("text", "written"), [("1e400", '"Infinity"'), ("[-1e400]", '["-Infinity"]')])
def test_numbers_beyond_a_double_become_strings_so_that_the_text_stays_json(text, written):
    assert write(read(text)) == written


def test_a_number_beyond_a_double_can_be_told_from_a_string():
    assert isinstance(read("1e400"), Infinite)
    assert not isinstance(read('"Infinity"'), Infinite)


def test_unpaired_surrogates_are_escaped_since_utf8_cannot_hold_them():
    assert encode({"é": "\ud800"}) == b'{"\\u00e9":"\\ud800"}'
    assert encode({"é": "x"}) == '{"é":"x"}'.encode()


def test_what_has_many_brackets_may_nest_as_deep_as_what_has_few():
    deepest = "[" * 249 + "[],[]" + "]" * 249
    assert read(deepest)
    with pytest.raises(ValueError, match="nested too deep"):
        read(f"[{deepest}]")


LONG = "9" * 5000


@pytest.mark.parametrize("text", [LONG, f"-{LONG}", f"[{LONG}]", f'{{"a": {{"b": {LONG}}}}}', "9" * 4301])
def test_an_integer_may_have_more_digits_than_python_reads(text):
    check(text.encode())
    assert "Infinity" in write(read(text))
    assert "inf" in repr(read_doubles(text.encode()))


def test_other_integers_beside_a_long_one_stay_as_they_are():
    text = f"[1, {'9' * 4300}, {LONG}]"
    assert read(text)[:2] == [1, int("9" * 4300)]
    assert read_doubles(text.encode())[0] == 1


@pytest.mark.parametrize("text", [f"{LONG} x", f"[{LONG}", f"[{LONG}, NaN]"])
def test_what_is_no_json_beside_a_long_integer_is_refused(text):
    for reader in (read, lambda text: read_doubles(text.encode())):
        with pytest.raises(ValueError):  # noqa: PT011
            reader(text)


def test_an_integer_that_is_too_long_is_refused_in_words_of_its_own():
    with pytest.raises(ValueError, match=r"^an integer has more than 4300 digits$"):
        read(f"[-{'9' * 4301}]", long_integers=False)
    assert read(f"[-{'9' * 4300}]", long_integers=False) == [-int("9" * 4300)]
