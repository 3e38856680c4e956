import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import InvalidDocument
from broker.jsonparts import raw_elements, raw_member
from broker.schemas.leases import LeasesRequest
from broker.schemas.signals import SignalRequest
from broker.schemas.validation import validate

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("array", "elements"),
    [
        (b"[]", []),
        (b"[ ]", []),
        (b"[1]", [b"1"]),
        (b'[ {"a": 1.50 } ,\t"],[" , [ [ ] ]\n]', [b'{"a": 1.50 }', b'"],["', b"[ [ ] ]"]),
        ('["é", {}]'.encode(), ['"é"'.encode(), b"{}"]),
    ],
)
def test_the_elements_of_an_array_are_as_they_were_sent(array, elements):
    assert raw_elements(array) == elements


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(JSON, max_size=4), st.sampled_from([None, 1]))
def test_every_element_of_any_array_is_found(values, indent):
    found = raw_elements(json.dumps(values, indent=indent).encode())
    assert [json.loads(element) for element in found] == values


def test_a_member_is_as_it_was_sent_and_the_last_of_its_name_counts():
    assert raw_member(b'{"a": [1], "b": 1.50, "b" : { "a":2.0 } }', "b") == b'{ "a":2.0 }'
    assert raw_member(b'{"a": {"b": 1}}', "b") is None


@pytest.mark.parametrize(
    ("body", "member"),
    [
        (b'{"b":"\\ud800"}', b'"\\ud800"'),
        (b'{"\\ud800": "\\udfff", "b": {"\\ud800":1}}', b'{"\\ud800":1}'),
        (b'{"\\u0062": 1e400 , "c": 0}', b"1e400"),
        (b'\xef\xbb\xbf \n{"b":\t-0.0E-5\r\n}', b"-0.0E-5"),
        (b'{"b":' + b"[" * 249 + b"]" * 249 + b"}", b"[" * 249 + b"]" * 249),
        (b'{"b":' + b"9" * 4000 + b"}", b"9" * 4000),
    ],
    ids=["a lone surrogate", "a key with one", "an escaped key", "a byte order mark", "deep", "long"],
)
def test_a_member_that_other_readers_refuse_or_change_is_as_it_was_sent(body, member):
    assert raw_member(body, "b") == member


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2026-11-22T10:00:00Z", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22t12:30:00.123456789+02:30", datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read_with_its_offset(given, moment):
    assert validate(SignalRequest, {"name": "n", "deliverAt": given}).deliver_at == moment


@pytest.mark.parametrize(
    "given",
    [
        "",
        "soon",
        "2026-11-22",
        "2026-11-22T10:00:00",
        "2026-11-22 10:00:00Z",
        "2026-13-22T10:00:00Z",
        1764000000,
        True,
        "2026-11-22T10:00Z",
        "2026-11-22T24:30:00Z",
        ["x"],
    ],
)
def test_what_is_no_moment_with_an_offset_is_refused(given):
    with pytest.raises(InvalidDocument) as refused:
        validate(SignalRequest, {"name": "n", "deliverAt": given})
    assert [(error.pointer, error.detail) for error in refused.value.errors] == [
        ("/deliverAt", "must be a date and time with its offset (RFC 3339), like 2026-11-22T10:00:00Z")
    ]


def test_a_text_that_is_empty_is_no_list_without_items():
    with pytest.raises(InvalidDocument) as refused:
        validate(LeasesRequest, {"leaseTokens": ["x", ""]})
    [error] = refused.value.errors
    assert (error.pointer, error.detail) == ("/leaseTokens/1", "must not be empty")
