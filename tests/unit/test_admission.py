from datetime import UTC, datetime, timedelta

import pytest

from broker.admission import Gate, Pass, Refusal
from broker.circuits import Circuit
from broker.deliveries import Reason
from broker.limits import ConcurrencySlots, Rate
from broker.subscriptions import Kind, Subscription, SubscriptionSpec, Target

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LATER = NOW + timedelta(seconds=20)
LONG_AGO = datetime.min.replace(tzinfo=UTC)


def gate(*, places=None, rate=None, **changes):
    target = Target(kind=Kind.WEBHOOK, address="https://example.com/")
    subscription = Subscription(
        id=1, spec=SubscriptionSpec(name="sig", targets=(target,)), created_at=NOW, since=1, **changes
    )
    return Gate(subscription, places, rate)


def admit(gate, circuit=None, *, signal_id=7, paid=False):
    return gate.admit(signal_id, circuit, paid=paid, now=NOW, until=LATER)


def test_nothing_stands_in_the_way_of_a_subscription_without_limits():
    assert admit(gate()) == Pass()


@pytest.mark.parametrize(
    ("changes", "reason", "final"),
    [
        ({"paused_at": NOW}, Reason.PAUSED, False),
        (
            {"paused_at": NOW, "disabled_because": "the target answered 410"},
            "the subscription is disabled: the target answered 410",
            True,
        ),
    ],
)
def test_a_paused_subscription_s_deliveries_are_held_and_a_disabled_one_s_are_dead(changes, reason, final):
    refusal = admit(gate(**changes))
    assert (refusal.reason, refusal.due_at, refusal.final) == (reason, None, final)


def test_what_a_deleted_subscription_is_owed_passes_and_is_cancelled_behind_the_gate():
    assert admit(gate(until=9, paused_at=NOW)) == Pass()


def test_a_delivery_takes_a_place_and_the_next_one_is_held():
    limited = gate(places=ConcurrencySlots(limit=1, taken=0, own=set()))
    assert admit(limited, signal_id=7) == Pass(place=True)
    assert admit(limited, signal_id=8) == Refusal(Reason.IN_FLIGHT)


def test_a_delivery_without_a_place_takes_no_slot():
    rate = Rate(1, LONG_AGO, LONG_AGO)
    admit(gate(places=ConcurrencySlots(limit=1, taken=1, own=set()), rate=rate))
    assert rate.slot_at == LONG_AGO


def test_a_delivery_without_a_slot_gives_its_place_back():
    places, rate = ConcurrencySlots(limit=1, taken=1, own={7}), Rate(1, LATER, LONG_AGO)
    assert admit(gate(places=places, rate=rate)) == Refusal(Reason.RATE, LATER)
    assert places.free == 1


def test_one_delivery_tries_a_target_whose_circuit_is_half_open():
    circuit = Circuit(failures=20, openings=1, retry_at=NOW)
    assert admit(gate(), circuit) == Pass(circuit=True, probe=True)
    assert circuit.probing_until == LATER
    assert admit(gate(), circuit).reason is Reason.CIRCUIT


def test_a_target_that_failed_and_is_not_given_up_is_no_obstacle():
    assert admit(gate(), Circuit(failures=3)) == Pass(circuit=True, probe=False)


def test_a_delivery_that_is_refused_for_another_reason_does_not_try_the_target():
    circuit = Circuit(failures=20, openings=1, retry_at=NOW)
    assert admit(gate(places=ConcurrencySlots(limit=1, taken=1, own=set())), circuit).reason is Reason.IN_FLIGHT
    assert circuit.probing_until is None
