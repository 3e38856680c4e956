"""Searches: what is in a payload, however it is written, and what must be in its text for that."""

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.jsontext import resolve_escapes
from broker.searches import Search
from broker.signals import Signal, SignalState, Throw
from tests.unit.test_jsontext import JSON_TEXT, spelled

TEXTS = st.text(alphabet='aAé%_.\\"/10eE-Kİ', max_size=3)
VALUES = TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
PAYLOADS = st.dictionaries(
    TEXTS, VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(TEXTS, VALUES, max_size=2), max_size=3
)

AROUND = [("n", '{"n":', "}"), ("n", '{"n" : ', "}"), ("m.n", '{"m": {"n":\n', "}}"), ("n[1]", '{"n": [0, ', "]}")]
"""A path, and what is before and behind the value under it."""


def signal_with(payload, **more):
    throw = Throw(name=more.pop("name", "a.b"), payload=payload.encode(), **more)
    return Signal(id=1, created_at=datetime.now(UTC), state=SignalState.RECORDED, throw=throw)


@pytest.mark.parametrize(
    ("payload", "path", "text", "fits"),
    [
        ('{"a": {"b": "x"}}', "a.b", "x", True),
        ('{"a": {"b": "x"}}', "a.b", "X", False),
        ('{"a": {"b": "xy"}}', "a.b", "x", False),
        ('{"a": {"b": "x"}}', "a", "x", False),
        ('{"a": {"b": "x"}}', "a", '{"b": "x"}', False),
        ('{"a.b": "x"}', "a.b", "x", True),
        ('{"a": [1, {"b": 2}, [3]]}', "a[0]", "1", True),
        ('{"a": [1, {"b": 2}, [3]]}', "a[1].b", "2", True),
        ('{"a": [1, {"b": 2}, [3]]}', "a[2].0", "3", True),
        ('{"a": [{"b": 1}, {"b": 2}]}', "a[*].b", "2", True),
        ('{"a": [{"b": 1}, {"b": 2}]}', "a.b", "2", False),
        ('{"a": 42}', "a", "42", True),
        ('{"a": 42.0}', "a", "42", True),
        ('{"a": 4.2e1}', "a", "42", True),
        ('{"a": "42.0"}', "a", "42", False),
        ('{"a": 42}', "a", "42.0", False),
        ('{"a": true}', "a", "true", True),
        ('{"a": "true"}', "a", "true", True),
        ('{"a": null}', "a", "null", True),
        ('{"a": "null"}', "a", "null", True),
        ("{}", "a", "null", False),
        ('{"a": [null]}', "a[*]", "null", True),
        ('{"a": ""}', "a", "", True),
        ("{}", "a", "", False),
        ('{"a": "\\u0078"}', "a", "x", True),
        ('{"a": "\\ud800", "b": "x"}', "b", "x", True),
        ('["x"]', "[0]", "x", False),
        ('"x"', "x", "x", False),
    ],
)
def test_a_value_is_the_text_under_its_path(payload, path, text, fits):
    assert Search(values=((path, text),)).fits(signal_with(payload)) is fits


def test_all_values_and_the_text_must_be_there():
    signal = signal_with('{"a": 1, "b": 2}')
    assert Search(values=(("a", "1"), ("b", "2")), text="B").fits(signal)
    assert not Search(values=(("a", "1"), ("b", "1"))).fits(signal)
    assert not Search(values=(("a", "1"), ("b", "2")), text="c").fits(signal)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("inv-92", True),
        ("INVOICE", True),
        ("MÜLLER", True),
        ("müller", True),
        ("a/b", True),
        ('say "hi"', True),
        ("back\\slash", True),
        ("😀", True),
        ("12.5", True),
        ("order.paid", True),
        ("BUSINESS-7", True),
        ("ordering-8", True),
        ("execution-9", True),
        ("1234", True),
        ("12345", False),
        ("u00fc", False),
        ("tenant", False),
    ],
)
def test_a_text_is_in_the_payload_or_in_a_key_in_any_letter_case(text, fits):
    payload = r'{"Invoice": "INV-92", "who": "M\u00fcller", "at": "a\/b", "x": "say \"hi\"", "y": "back\\slash",'
    signal = signal_with(
        payload + r'"z": "\ud83d\ude00", "n": 12.50}',
        name="order.paid",
        business_key="Business-7",
        ordering_key="Ordering-8",
        execution_id="Execution-9",
        source_id=1234,
    )
    assert Search(text=text).fits(signal) is fits


@pytest.mark.slow
@given(PAYLOADS.flatmap(spelled), st.data())
def test_what_fits_has_the_hints_in_its_text_unless_that_has_escapes(payload, data):
    document = json.loads(payload)
    path = data.draw(
        st.sampled_from([".".join(document) or "a", *document, "a[0]", "a[*]", *(f"{n}.a" for n in document)])
    )
    texts = signal_with(payload).context.texts(path)
    text = data.draw(st.sampled_from([*texts, "null", "a", "1"]))
    search = Search(values=((path, text),))
    if search.fits(signal_with(payload)) and "\\" not in payload:
        assert all(hint in payload for hint in search.hints)
        assert search.number is None or re.search(search.number, payload)


@given(st.floats(allow_nan=False) | st.integers(), st.data())
def test_a_number_is_found_by_its_text_however_it_is_written(number, data):
    shown = signal_with(f'{{"n": {number}}}'.replace("inf", "1e999")).context.texts("n")[0]
    digits = data.draw(st.integers(16, 30))
    written = [f"{number:.{digits}e}", f"{number:.{digits}E}", str(number), f"{number}".replace("e", "0e")]
    written += [
        "4.2e1",
        "42.0",
        "420e-1",
        "0.42E2",
        "0.042e+03",
        "41.99999999999999999999",
        "1e3",
        "10.00e2",
        "0e0",
        "-0.0",
    ]
    path, before, after = data.draw(st.sampled_from(AROUND))
    text = (before + data.draw(st.sampled_from(written)) + after).replace("inf", "1e999")
    for sought in (shown, "42", "1000", "0", "Infinity", "-Infinity"):
        search = Search(values=((path, sought),))
        if search.fits(signal_with(text)):
            assert re.search(search.number, text)


@pytest.mark.slow
@given(PAYLOADS.flatmap(spelled), TEXTS.filter(bool))
def test_a_payload_with_a_text_has_its_hint_unless_that_has_escapes(payload, text):
    search = Search(text=text)
    if search.fits(signal_with(payload, name="z")) and "\\" not in payload and "\N{KELVIN SIGN}" not in payload:
        lowered = "".join(letter.lower() if letter.isascii() else letter for letter in payload)
        assert search.text_hint in lowered


def test_hints_are_short_however_long_what_is_looked_for_is():
    search = Search(values=(("a" * 500, "b" * 1000), ("n", "1" * 900)), text="c" * 255)
    assert max(map(len, [*search.hints, search.text_hint])) <= 16
    assert len(search.number) < 150


@pytest.mark.slow
@given(JSON_TEXT)
def test_escapes_are_resolved_as_json_does(payload):
    def texts(value):
        if isinstance(value, str):
            return [value]
        if isinstance(value, dict):
            return [text for name, one in value.items() for text in (name, *texts(one))]
        return [text for one in value for text in texts(one)] if isinstance(value, list) else []

    resolved = resolve_escapes(payload)
    assert all(text in resolved for text in texts(json.loads(payload)))
