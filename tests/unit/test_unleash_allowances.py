"""So many calls in every second, for every endpoint on its own."""

from __future__ import annotations

import pytest

from gateway.http_errors import TooMany
from gateway.unleash.allowances import Allowances


def test_what_is_left_is_told_with_every_call():
    allowances = Allowances(2)

    assert allowances.take(7, 100.0).headers == {
        "RateLimit-Policy": "2;w=1",
        "RateLimit-Limit": "2",
        "RateLimit-Remaining": "1",
        "RateLimit-Reset": "1",
    }
    assert [allowances.take(7, 100.9).headers["RateLimit-Remaining"] for _ in range(2)] == ["0", "0"]


def test_the_call_over_the_limit_is_refused_until_the_second_is_over():
    allowances = Allowances(1)

    allowances.take(7, 100.1).check()
    with pytest.raises(TooMany, match="Too many requests") as refused:
        allowances.take(7, 100.9).check()
    allowances.take(7, 101.0).check()

    assert refused.value.headers == {"Retry-After": "1"}


def test_endpoints_and_strangers_have_an_allowance_each():
    allowances = Allowances(1)

    for caller in (None, 7, 8):
        allowances.take(caller, 100.0).check()

    with pytest.raises(TooMany):
        allowances.take(None, 100.0).check()
