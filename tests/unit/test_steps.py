"""What an attempt of several steps leaves behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.admission import UNCONDITIONAL, Admitted
from broker.deliveries import DeliveryState, DueAttempt, Outcome, Result, Step
from broker.store.deliveries.attempts import Ended

DOWN = Result(outcome=Outcome.UNREACHABLE)
OK = Result(outcome=Outcome.SUCCEEDED)
PROBE = Admitted(circuit=True, probe=True)


def ended(*results, first=1):
    steps = tuple(
        Step(number=number, address=f"https://{number}/", result=result, duration=timedelta(0))
        for number, result in enumerate(results, start=first)
    )
    return Ended(
        due=DueAttempt(1, 2, 1),
        result=results[-1],
        state=DeliveryState.PARKED,
        pause=timedelta(0),
        started_at=datetime.now(UTC),
        duration=timedelta(0),
        address=steps[-1].address,
        admitted=PROBE,
        steps=steps,
    )


@pytest.mark.parametrize(
    ("results", "first", "done"),
    [((DOWN,), 1, 0), ((OK, DOWN), 1, 1), ((OK, OK), 1, 2), ((DOWN,), 3, 2), ((OK, DOWN), 2, 2)],
)
def test_the_next_attempt_goes_on_after_the_steps_that_succeeded(results, first, done):
    assert ended(*results, first=first).steps_done == done


def test_each_step_tells_its_own_circuit_and_only_the_first_had_been_let_through_by_one():
    assert ended(OK, DOWN).calls == [("https://1/", OK, PROBE), ("https://2/", DOWN, UNCONDITIONAL)]
