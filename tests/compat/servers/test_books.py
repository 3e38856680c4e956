"""What the comparison of the record with the receiver's count takes for a fault, and what it does not."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from broker.deliveries import Attempt, DeliveryState, Exchange, Outcome, Result
from tests.compat.servers.books import Books

HERE = "127.0.0.1:80"
UNSENT = "2-1 is delivered, but the receiver got no request of the attempt that succeeded"


def attempt(number, outcome, *, address=HERE, resent=None):
    exchange = Exchange(url="http://a/", request_headers={}, address=address, resent=resent)
    result = Result(outcome=outcome, exchange=exchange)
    return Attempt(number=number, started_at=datetime.now(UTC), duration=timedelta(seconds=1), result=result)


FAILED = attempt(1, Outcome.UNREACHABLE)
UNCONNECTED = attempt(1, Outcome.UNREACHABLE, address=None)
FIRST = attempt(1, Outcome.SUCCEEDED)
SECOND = attempt(2, Outcome.SUCCEEDED)
RESENT = attempt(1, Outcome.SUCCEEDED, resent="the connection was closed before there was an answer")
RESENT_IN_VAIN = attempt(1, Outcome.UNREACHABLE, address=None, resent="the connection was reset")


def books(*attempts, state=DeliveryState.DELIVERED, **times):
    requests = Counter({("2-1", int(number.removeprefix("of_"))): count for number, count in times.items()})
    return Books(owed=["2-1"], states={"2-1": state}, attempts={"2-1": attempts}, requests=requests)


@pytest.mark.parametrize(
    "good",
    [
        books(FIRST, of_1=1),
        books(FAILED, SECOND, of_1=1, of_2=1),
        books(FAILED, SECOND, of_2=1),
        books(UNCONNECTED, SECOND, of_2=1),
        books(RESENT, of_1=2),
        books(RESENT, of_1=1),
        books(RESENT_IN_VAIN, SECOND, of_1=1, of_2=1),
    ],
)
def test_what_the_record_explains_is_no_fault(good):
    assert (good.lost, good.unexplained) == ([], [])


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (books(FIRST), UNSENT),
        (books(FAILED, SECOND, of_1=1), UNSENT),
        (books(FAILED, state=DeliveryState.DEAD, of_1=1), "2-1 is dead"),
    ],
)
def test_a_delivery_that_the_receiver_did_not_get_is_lost(bad, why):
    assert (bad.lost, bad.unexplained) == ([why], [])


def test_a_delivery_that_is_not_recorded_is_lost():
    assert Books(owed=["2-1"], states={}, attempts={}, requests=Counter()).lost == ["2-1 is missing"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (books(FIRST, of_1=2), "2-1: the receiver got attempt 1 2 times"),
        (books(RESENT, of_1=3), "2-1: the receiver got attempt 1 3 times"),
        (books(FIRST, of_1=1, of_2=1), "2-1: the receiver got an attempt 2 that is not in the record"),
        (books(FIRST, SECOND, of_1=1, of_2=1), "2-1 was attempted again after it had been delivered"),
        (
            books(UNCONNECTED, SECOND, of_1=1, of_2=1),
            "2-1: the receiver got attempt 1, for which there was no connection",
        ),
    ],
)
def test_a_request_without_a_reason_in_the_record_is_doubled(bad, why):
    assert (bad.lost, bad.unexplained) == ([], [why])


def test_the_figures_are_those_of_the_record_and_of_the_receiver():
    found = books(RESENT_IN_VAIN, SECOND, of_1=1, of_2=1)
    assert (found.counted, found.outcomes, found.resent) == (2, {"unreachable": 1}, 1)
