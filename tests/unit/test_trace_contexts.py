"""Trace contexts as callers send them, by W3C Trace Context."""

from __future__ import annotations

import pytest

from broker.tracing import TraceContext, read_context

TRACE, SPAN = "a" * 32, "b" * 16
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("traceparent", [VALID, f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-03"])
def test_a_context_is_passed_on_as_it_came(traceparent):
    assert read_context(traceparent) == TraceContext(traceparent)


@pytest.mark.parametrize(
    ("traceparent", "reduced"),
    [
        (f"01-{TRACE}-{SPAN}-01", VALID),
        (f"cc-{TRACE}-{SPAN}-ff-what-the-future-has", f"00-{TRACE}-{SPAN}-03"),
        (f"fe-{TRACE}-{SPAN}-00-", f"00-{TRACE}-{SPAN}-00"),
    ],
)
def test_one_of_a_later_version_is_reduced_to_what_is_known(traceparent, reduced):
    assert read_context(traceparent) == TraceContext(reduced)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        VALID.upper(),
        f" {VALID}",
        f"{VALID}-more",
        f"{VALID}\n",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}a-{SPAN}-01",
        f"00-{'g' * 32}-{SPAN}-01",
        "00-" + "\u0661" * 32 + f"-{SPAN}-01",
        "0" * 8000,
    ],
)
def test_an_invalid_one_is_none_and_takes_its_state_along(traceparent):
    assert read_context(traceparent, ["a=1"]) is None


@pytest.mark.parametrize(
    ("headers", "state"),
    [
        (["a=1"], "a=1"),
        (["a=1,b=2", "c=3"], "a=1,b=2,c=3"),
        (["a=1 ,\tb=2,,"], "a=1,b=2"),
        (["tenant@vendor=x y", "0a/b*c-d_e=!"], "tenant@vendor=x y,0a/b*c-d_e=!"),
        ([",".join(f"k{number}=1" for number in range(32))], ",".join(f"k{number}=1" for number in range(32))),
        ([], None),
        ([""], None),
        ([" , "], None),
        (["a=1,a=2"], None),
        (["a=1,nonsense"], None),
        (["A=1"], None),
        (["a="], None),
        (["a=1=2"], None),
        (["a=é"], None),
        ([f"{'k' * 257}=1"], None),
        ([f"a={'v' * 257}"], None),
        ([",".join(f"k{number}=1" for number in range(33))], None),
    ],
)
def test_the_state_is_passed_on_if_it_is_valid(headers, state):
    assert read_context(VALID, headers) == TraceContext(VALID, state)


def test_a_state_that_is_too_long_loses_its_long_members_and_then_the_last_ones():
    long, short = f"a={'v' * 200}", [f"k{number}={'v' * 96}" for number in range(5)]
    assert read_context(VALID, [",".join([long, *short[:3]])]).tracestate == ",".join([long, *short[:3]])
    assert read_context(VALID, [",".join([long, *short])]).tracestate == ",".join(short)
    assert read_context(VALID, [",".join([*short, "x=1", f"y={'v' * 100}"])]).tracestate == ",".join([*short, "x=1"])
    assert len(",".join([*short, "x=1"])) == 503


def test_the_headers_have_a_state_only_if_there_is_one():
    assert TraceContext(VALID).headers == {"traceparent": VALID}
    assert TraceContext(VALID, "a=1").headers == {"traceparent": VALID, "tracestate": "a=1"}
