"""A number of deliveries travels from each to the throw that it leads to, and ends what would have no end."""

from __future__ import annotations

import pytest

from broker.errors import EndlessLoop, InvalidField
from broker.hops import LIMIT, add_hops, next_hops, read_hops


@pytest.mark.parametrize(
    ("headers", "baggage", "hops"),
    [
        ([], [], 0),
        (["0"], [], 0),
        (["15"], [], 15),
        (["007"], [], 7),
        (["3", "5", "4"], [], 5),
        (["3, 5 ,4"], [], 5),
        ([], ["signal-broker-hops=3"], 3),
        ([], ["a=b, signal-broker-hops = 4 ;ttl=1,c=d"], 4),
        ([], ["a=b", "signal-broker-hops=%35"], 5),
        (["2"], ["signal-broker-hops=9,signal-broker-hops=7"], 9),
        (["9"], ["signal-broker-hops=2"], 9),
        ([], ["signal-broker-hops=", "x-signal-broker-hops=16", "=;,,%", "a=signal-broker-hops=16"], 0),
        ([], ["signal-broker-hops=-1", "signal-broker-hops=\u0667", "SIGNAL-BROKER-HOPS=7"], 0),
    ],
)
def test_the_highest_number_that_a_throw_has_counts(headers, baggage, hops):
    assert read_hops(headers, baggage) == hops


@pytest.mark.parametrize("number", ["16", "17", "1000", "0" * 50 + "16", "9" * 8000])
def test_a_throw_after_too_many_deliveries_is_refused_wherever_it_says_so(number):
    for headers, baggage in (([number], []), (["1", number], []), (["1"], [f"signal-broker-hops={number}"])):
        with pytest.raises(EndlessLoop, match="after 16 deliveries"):
            read_hops(headers, baggage)


@pytest.mark.parametrize("value", ["", " ", "x", "-1", "+1", "1.0", "1e1", "0x1", "\u0663", "3,", ",3", "3 4"])
def test_a_header_that_is_no_number_is_refused(value):
    with pytest.raises(InvalidField, match="must be a number"):
        read_hops([value], [])


def test_a_delivery_says_one_more_than_its_signal():
    assert next_hops(0) == {"Signal-Broker-Hops": "1", "baggage": "signal-broker-hops=1"}
    assert read_hops([next_hops(14)["Signal-Broker-Hops"]], []) == 15
    with pytest.raises(EndlessLoop):
        read_hops([], [next_hops(LIMIT - 1)["baggage"]])


def test_what_a_subscriber_wants_in_the_baggage_stays_and_nothing_replaces_the_number():
    headers = add_hops({"Baggage": "a=b", "signal-broker-hops": "0", "X": "y"}, 2)
    assert headers == {"X": "y", "Signal-Broker-Hops": "3", "baggage": "a=b,signal-broker-hops=3"}
