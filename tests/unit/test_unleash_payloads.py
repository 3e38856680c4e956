"""A JSON body is the payload as it was written."""

from __future__ import annotations

import codecs

import pytest

from gateway.http_errors import BadRequest
from gateway.unleash.payloads import parse_json, read_form

PAYLOADS = {
    "nothing": (b"", "utf-8", b"{}"),
    "only a byte order mark": (codecs.BOM_UTF8, "utf-8", b"{}"),
    "a byte order mark": (codecs.BOM_UTF8 + b'{"a": 1}', "utf-8", b'{"a": 1}'),
    "blanks and a repeated name": (b' {"a": 1,\n"a" : 2} ', "utf-8", b' {"a": 1,\n"a" : 2} '),
    "NUL and half a character, escaped": (rb'{"a": "\u0000\ud800"}', "utf-8", rb'{"a": "\u0000\ud800"}'),
    "more than a double can hold": (b'{"a": 1e999, "b": -0.0}', "utf-8", b'{"a": 1e999, "b": -0.0}'),
    "an integer of four thousand digits": (b'{"a": %b}' % (b"9" * 4000), "utf-8", b'{"a": %b}' % (b"9" * 4000)),
    "250 levels": (b'{"a":' * 250 + b"1" + b"}" * 250, "utf-8", b'{"a":' * 250 + b"1" + b"}" * 250),
    "UTF-16 with a mark": ('{"a": "ä🦊"}'.encode("utf-16"), "utf-16", '{"a": "ä🦊"}'.encode()),
    "UTF-16, big end first": ('{"a": "ä"}'.encode("utf-16-be"), "utf-16be", '{"a": "ä"}'.encode()),
}


@pytest.mark.parametrize("case", PAYLOADS)
def test_an_object_is_kept_byte_for_byte(case):
    body, charset, payload = PAYLOADS[case]

    assert parse_json(body, charset) == payload


REFUSED = {
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "a text": b'"a"',
    "blanks": b" ",
    "half an object": b"{",
    "something after it": b"{} {}",
    "NaN": b'{"a": NaN}',
    "a NUL as it is": b'{"a": "\0"}',
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-8 of half a character": b'{"a": "\xed\xa0\x80"}',
    "an integer of five thousand digits": b'{"a": %b}' % (b"9" * 5000),
    "251 levels": b'{"a":' * 251 + b"1" + b"}" * 251,
    "fifty thousand levels": b'{"a":' + b"[" * 50_000,
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_json_object_is_refused(case):
    with pytest.raises(BadRequest):
        parse_json(REFUSED[case])


@pytest.mark.parametrize("body", [b"a=\xff", b"\xff=1", "ä=1".encode("latin-1"), b"a=\xed\xa0\x80"])
def test_a_form_that_is_not_in_utf_8_is_refused(body):
    with pytest.raises(BadRequest, match="The form is not in UTF-8"):
        read_form(body)


def test_bytes_that_are_percent_encoded_stay_as_they_are_written():
    assert read_form(b"a=%FF").content == b'{"a":"%FF"}'


def test_a_form_in_another_charset_is_read():
    assert read_form(b"a=\xe4%e4", "iso-8859-1").content == '{"a":"ää"}'.encode()
