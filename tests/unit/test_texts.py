"""Nothing that steers a terminal, or turns a text around, reaches one as it is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.texts import STEERING, escape

HIDDEN = [
    *map(chr, (0x00, 0x07, 0x1B, 0x7F, 0x80, 0x85, 0x9B, 0x9F)),
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\U000e0041",
]


@pytest.mark.parametrize("character", HIDDEN, ids=lambda one: f"U+{ord(one):04X}")
def test_what_cannot_be_seen_is_escaped(character):
    shown = escape(f"a{character}b")
    assert shown.isprintable()
    assert json.loads(f'"{shown}"') == f"a{character}b"


def test_what_can_be_seen_stays():
    assert escape("Zoë 日本 עברית \\u009b") == "Zoë 日本 עברית \\u009b"
    assert escape("two\nlines\ttab", keep="\n") == "two\nlines\\u0009tab"


@given(st.text())
def test_an_escaped_text_is_printable_and_json_keeps_its_meaning(text):
    assert escape(text).isprintable()
    document = json.dumps([text], ensure_ascii=False)
    assert json.loads(escape(document)) == [text]


def test_names_and_ids_are_refused_for_what_steers_a_terminal_alone():
    assert [one for one in HIDDEN if STEERING.search(one)] == [one for one in HIDDEN if "\x80" <= one <= "\u2069"]
    assert not STEERING.search("Zoë 日本 עברית \u200c\u200d")
