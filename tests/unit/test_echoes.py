"""Credentials that come back are found, whatever form they come back in."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.echoes import Echoes

FORMS = {
    "as sent": str,
    "in a URL": lambda text: quote(text, safe=""),
    "in a path": quote,
    "in a form": quote_plus,
    "in lower-case percents": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON of UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "in JSON of PHP": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "in HTML": html.escape,
    "in decimal HTML": lambda text: "".join(f"&#{ord(character)};" for character in text),
}
CREDENTIALS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F, exclude_categories=["C", "Z"]), min_size=6)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@given(credential=CREDENTIALS)
def test_an_echo_is_hidden_in_each_form(form, credential):
    assert Echoes([credential]).hide(f"no . {form(credential)} .") == "no . *** ."


@pytest.mark.slow
@given(CREDENTIALS, st.binary(max_size=5), st.binary(max_size=5), st.sampled_from([b64encode, urlsafe_b64encode]))
def test_an_echo_is_hidden_at_any_place_of_a_base64_text(credential, before, after, encode):
    """Up to two characters at either end are made of its neighbours, too."""
    encoded = encode(before + credential.encode() + after).decode()
    shown = Echoes([credential]).hide(encoded)
    assert "***" in shown
    left, right = shown.split("***", 1)
    assert len(left) <= len(before) * 4 / 3 + 2
    assert len(right) <= len(after) * 4 / 3 + 5


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_beginning_of_an_echo_is_hidden_where_a_text_was_cut(form):
    echo = form('S3cr+t/ "v&l<e%41\\')
    for size in range(len(form("S3cr+t")), len(echo) + 1):
        assert Echoes(['S3cr+t/ "v&l<e%41\\']).hide(f"no: {echo[:size]}") == "no: ***"
    assert Echoes(["S3cr+t/"]).hide("it begins with 'S3cr+t'") == "it begins with '***'"


@pytest.mark.parametrize(
    ("credential", "text", "shown"),
    [
        ("Bearer abcdef", "the Bearer token abcdef is unknown", "the Bearer token *** is unknown"),
        ("Basic am9lOmh1bnRlcjI=", "joe and hunter2 (joe:hunter2)", "joe and *** (***)"),
        ("Basic am9lOmh1bnRlcjI=", "am9lOmh1bnRlcjI=", "***"),
        ("sid=abcdef; theme=dark12", "session abcdef", "session ***"),
        ('Signature keyId="joe", signature="abcd/ef="', "wrong: abcd/ef=", "wrong: ***"),
        ("short", "short", "short"),
        ("abcdef", "abcde f abcdefabcdefg", "abcde f ***g"),
        ("abcdef", "", ""),
    ],
)
def test_what_is_quoted_of_a_credential_is_hidden(credential, text, shown):
    assert Echoes([credential]).hide(text) == shown
