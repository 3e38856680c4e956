"""What the doctor says of the books of the intake, and of what waits to be leased."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.operations.books import Books
from broker.store.deliveries.deliveries import Ledger
from broker.store.postgres.schema import NEEDED, STEPS
from broker.store.signals.intake_books import IntakeBalance, QueueDepths
from deploy.cli.doctor import _judge_leasable, _judge_schema
from deploy.cli.messaging_checks import judge_intake, judge_poison


def books(*, overdue=0, lost=0, record=0):
    return Books(
        ledger=Ledger(recorded=9, matched=0, states={}),
        buffered=0,
        intake=IntakeBalance(
            awaiting=overdue,
            overdue=overdue,
            passed=overdue,
            poison=0,
            lost=lost,
            held=0,
            stuck=False,
            silent=False,
            recorders=1,
            oldest=timedelta(),
        ),
        poison={},
        depths=QueueDepths(record=record, dead=0),
    )


@pytest.mark.parametrize(
    ("given", "level", "says"),
    [
        (books(), "ok", "no accepted signal is lost or missing"),
        (books(overdue=3, record=3), "ok", "no accepted signal is lost or missing"),
        (books(overdue=3, record=1), "warn", "2 accepted signals are missing, and 0 are lost"),
        (books(lost=2), "fail", "2 accepted signals are lost"),
        (books(overdue=1, lost=2), "fail", "1 accepted signals are missing, and 2 are lost"),
    ],
    ids=["balanced", "waiting", "missing", "lost", "both"],
)
def test_signals_that_are_missing_or_lost_are_findings(given, level, says):
    finding = judge_intake(given)
    assert (finding.level, finding.detail[: len(says)]) == (level, says)


@pytest.mark.parametrize(
    ("longest", "level", "says"),
    [
        ({}, "ok", "no delivery waits long to be leased"),
        ({7: 900.0}, "ok", "no delivery waits long to be leased"),
        (
            {7: 1500.0, 9: 901.0, 8: 30.0},
            "warn",
            "deliveries of subscription 7, 9 have been waiting for up to 25 minutes",
        ),
    ],
    ids=["none", "not long", "long"],
)
def test_subscriptions_of_which_nobody_leases_are_a_finding(longest, level, says):
    finding = _judge_leasable(longest)
    assert (finding.level, finding.detail[: len(says)]) == (level, says)


@pytest.mark.parametrize(
    ("beyond", "level", "says"),
    [
        ([], "ok", f"is at {NEEDED}, {NEEDED} is needed"),
        (["9998", "9999"], "warn", f"is newer than this version, which needs {NEEDED} and does not know 9998, 9999: "),
    ],
    ids=["known", "newer"],
)
def test_a_store_with_steps_that_this_version_does_not_know_is_newer(beyond, level, says):
    finding = _judge_schema([*STEPS, *beyond])
    assert (finding.level, finding.detail[: len(says)]) == (level, says)


def test_poison_that_is_an_accepted_signal_can_be_put_back():
    assert judge_poison("signals.record", 3, 3).detail == (
        "3 messages in signals.record.dead: once the cause is mended, `signal-broker recover signals.record` puts them"
        " back"
    )


def test_foreign_messages_are_to_be_purged_once_no_signal_is_among_them():
    none = judge_poison("signals.record", 3, 0).detail
    assert none.startswith("3 messages in signals.record.dead, of no accepted signal: they were not published by")
    assert "`rabbitmqctl purge_queue signals.record.dead`" in none
    assert "`poisonedSignals`" in none
    assert "signal-broker recover" not in none
    some = judge_poison("signals.record", 3, 1).detail
    assert "1 are accepted signals: once the cause is mended, `signal-broker recover signals.record` puts these" in some
    assert "rabbitmqctl purge_queue" in some
