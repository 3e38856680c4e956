"""The comparison of the books sees whatever a defect could do to them: histories that were made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.audience import Subscriber
from tests.support.books import Books, Receipt, compare
from tests.support.load import Throw

BOOKS = {"deliveries": {"pending": 0, "parked": 0, "dead": 0, "cancelled": 0}, "awaitingRecord": 0, "unaccounted": 0}


def throw(number, *, kind="cancelled", begun=None, **answer):
    begun = float(number) if begun is None else begun
    answer = {"status": 202, "id": 100 + number, "ended": begun + 0.5} | answer
    return Throw(number=number, kind=kind, begun=begun, **answer)


def receipt(number, *, subscriber=7, **more):
    answer = {"payload": {"number": number}, "delivery_id": frozenset({f"{100 + number}-{subscriber}"})} | more
    return Receipt(100 + number, **answer)


def ledger(delivered, **more):
    states = BOOKS["deliveries"] | {"delivered": delivered}
    return BOOKS | {"matched": sum(states.values()), "deliveries": states} | more


def books(**changes):
    """Return the books of four throws without a flaw, but for *changes*: two kinds, a filter, an order and a tap."""
    kinds = ("cancelled", "keyed", "broadcast", "keyed")
    subscribers = {
        "pattern": Subscriber(7, "/all", frozenset({"cancelled", "keyed", "broadcast"})),
        "queue": Subscriber(8, "queue", frozenset({"cancelled"})),
        "filtered": Subscriber(9, "/some", frozenset({"cancelled", "broadcast"}), enough=2),
        "ordered": Subscriber(10, "/line", frozenset({"keyed"}), ordered=True),
    }
    right = Books(
        throws=[throw(number, kind=kind) for number, kind in enumerate(kinds)],
        signals={100 + number: {"number": number} for number in range(4)},
        subscribers=subscribers,
        receipts={
            "pattern": [receipt(number) for number in (2, 0, 3, 1)],
            "queue": [receipt(0, subscriber=8)],
            "filtered": [receipt(2, subscriber=9)],
            "ordered": [receipt(1, subscriber=10), receipt(3, subscriber=10)],
        },
        tap=[receipt(number, delivery_id=frozenset()) for number in (0, 1, 3, 2)],
        ledgers={
            "pattern": ledger(4),
            "queue": ledger(1),
            "filtered": ledger(1),
            "ordered": ledger(2),
            "everybody": ledger(8, lost=3),
        },
        before={"lost": 3},
        ready=2.0,
    )
    return replace(right, **changes)


def changed(number, **answer):
    """Return the throws of `books`, one of them with another answer."""
    return [replace(each, **answer) if each.number == number else each for each in books().throws]


def received(name, *receipts):
    return books().receipts | {name: list(receipts)}


def test_books_without_a_flaw_agree():
    result = compare(books())
    assert result.violations == []
    assert (result.thrown, result.accepted, result.recorded, result.lost, result.owed) == (4, 4, 4, 0, 8)
    assert result.failed == {}
    assert result.repeats == {"webhook": 0, "queue": 0, "tap": 0}


def test_repeats_are_counted_and_allowed():
    """A refused request, and one that was answered too late, are none."""
    result = compare(
        books(
            receipts={
                "pattern": [receipt(2, taken=False), *(receipt(number) for number in (2, 0, 3, 1, 2))],
                "queue": [receipt(0, subscriber=8)] * 3,
                "filtered": books().receipts["filtered"],
                "ordered": [receipt(number, subscriber=10) for number in (1, 3, 1)],
            },
            tap=[*books().tap, books().tap[0]],
        )
    )
    assert result.violations == []
    assert result.repeats == {"webhook": 2, "queue": 2, "tap": 1}


def test_what_was_answered_503_may_be_recorded_and_tapped_or_not():
    refused = {"status": 503, "retry_after": "1", "id": None}
    assert compare(books(throws=changed(0, **refused))).violations == []
    gone = books(
        throws=changed(0, **refused),
        signals={100 + number: {"number": number} for number in (1, 2, 3)},
        receipts=received("pattern", *map(receipt, (1, 2, 3))) | {"queue": []},
        ledgers={"pattern": ledger(3), "queue": ledger(0)},
    )
    assert compare(gone).violations == []
    assert compare(gone).failed == {"503": 1}


def test_a_killed_gateway_answers_nothing():
    result = compare(books(throws=changed(0, status=None, id=None)))
    assert result.violations == []
    assert (result.unanswered, result.refused) == (1, 0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"throws": changed(0, status=500, id=None)}, "throw 0 was answered 500, Retry-After None"),
        ({"throws": changed(0, status=503, id=None)}, "throw 0 was answered 503, Retry-After None"),
        (
            {"throws": changed(3, status=503, id=None, retry_after="1")},
            "throw 3 was answered 503 when all was ready again",
        ),
        ({"throws": changed(3, status=None, id=None)}, "throw 3 was answered None when all was ready again"),
        ({"throws": changed(0, ended=8.25)}, "throw 0 was answered 202 after 8.2 s only"),
        ({"throws": changed(2, id=101)}, "signal 101 was answered to 2 throws"),
        (
            {"throws": [throw(0, id=105), *books().throws[1:]]},
            "signal 101 was thrown after signal 105 had been answered",
        ),
        (
            {"signals": {100 + number: {"number": number} for number in (0, 1, 3)}},
            "signal 102 was accepted and is not recorded",
        ),
        ({"signals": books().signals | {104: {"number": 2}}}, "throw 2 is recorded 2 times"),
        ({"signals": books().signals | {104: {"number": 9}}}, "throw 9 is recorded 1 times"),
        ({"signals": books().signals | {102: {"number": 1}}}, "signal 102 is recorded with the payload of throw 1"),
        ({"receipts": received("queue")}, "queue did not get signal 100"),
        ({"receipts": received("queue", receipt(0, subscriber=8, taken=False))}, "queue did not get signal 100"),
        (
            {"receipts": received("filtered", *(receipt(number, subscriber=9) for number in (2, 0)))},
            "filtered got signal 100, which is not for it",
        ),
        (
            {
                "receipts": received(
                    "filtered", *(receipt(number, subscriber=9, taken=number == 2) for number in (2, 0))
                )
            },
            "filtered got signal 100, which is not for it",
        ),
        ({"receipts": received("queue", receipt(0))}, "queue got signal 100 as delivery ['100-7']"),
        (
            {"receipts": received("queue", receipt(0, subscriber=8, payload={"number": 1}))},
            "queue got signal 100 with another payload than is recorded",
        ),
        ({"tap": books().tap[1:]}, "the tap did not get signal 100"),
        ({"tap": [*books().tap, receipt(9)]}, "the tap got signal 109, which is not for it"),
        (
            {"tap": [*books().tap, replace(receipt(0), signal_id=105)]},
            "the tap got throw 0 as signal 105; it was answered 100",
        ),
    ],
)
def test_a_flaw_is_seen(changes, sentence):
    assert sentence in compare(books(**changes)).violations


def test_signals_of_one_key_in_another_order_are_seen():
    """Of another key they may come in any order, and so may throws that overlap in time."""
    throws = [throw(number, kind="keyed") for number in (1, 31)]  # the keys are those of every fifth keyed throw
    assert throws[0].key == throws[1].key
    signals = {each.id: {"number": each.number} for each in throws}
    line = [receipt(number, subscriber=10) for number in (31, 1)]
    subscribers = {"ordered": books().subscribers["ordered"]}
    wrong = Books(throws=throws, signals=signals, subscribers=subscribers, receipts={"ordered": line}, ready=99)
    assert compare(wrong).violations == ["ordered got signal 131 before 101, which was answered before it was thrown"]
    overlapping = replace(wrong, throws=[throws[0], replace(throws[1], begun=1.2, ended=1.7)])
    assert compare(overlapping).violations == []
    other_key = [throw(1, kind="keyed"), throw(7, kind="keyed")]
    assert other_key[0].key != other_key[1].key


@pytest.mark.parametrize(
    "flaw",
    [
        {"unaccounted": 1},
        {"lost": 4},
        {"lost": 3, "poison": 1},
        {"lost": 3, "poison": {"signals.record": 0, "deliveries.attempt": 2}},
        {"lost": 3, "matched": 9},
    ],
)
def test_a_ledger_that_does_not_balance_is_seen(flaw):
    ledgers = books().ledgers | {"everybody": ledger(8) | flaw}
    (violation,) = compare(books(ledgers=ledgers)).violations
    assert violation.startswith("the books of everybody do not balance")


def test_a_ledger_that_disagrees_with_the_receivers_is_seen():
    states = ledger(0)["deliveries"] | {"dead": 1}
    for wrong in (ledger(2), ledger(0), ledger(0, matched=1, deliveries=states)):
        (violation,) = compare(books(ledgers={"queue": wrong})).violations
        assert "1 were owed" in violation


def test_what_is_on_its_way_is_not_settled():
    for wrong in (
        ledger(1, awaitingRecord=1),
        ledger(1, matched=2, deliveries=ledger(1)["deliveries"] | {"parked": 1}),
    ):
        (violation,) = compare(books(ledgers={"queue": wrong})).violations
        assert violation.startswith("the books of queue are not settled")
