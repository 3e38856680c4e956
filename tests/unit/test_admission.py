from datetime import UTC, datetime, timedelta

import pytest

from broker.admission import AdmissionControl, Admitted, Deferred, Denied
from broker.circuits import Circuit
from broker.deliveries import Reason
from broker.limits import ConcurrencySlots, Rate
from broker.subscriptions import Subscription, SubscriptionSpec
from broker.targets import WebhookTarget

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LATER = NOW + timedelta(seconds=20)
LONG_AGO = datetime.min.replace(tzinfo=UTC)


def control(*, slots=None, rate=None, **changes):
    target = WebhookTarget(url="https://example.com/")
    subscription = Subscription(
        id=1, spec=SubscriptionSpec(name="sig", targets=(target,)), created_at=NOW, since=1, **changes
    )
    return AdmissionControl(subscription, slots, rate)


def admit(control, circuit=None, *, signal_id=7, at=None):
    return control.admit(signal_id, circuit, at=at, now=NOW, until=LATER)


def test_nothing_stands_in_the_way_of_a_subscription_without_limits():
    assert admit(control()) == Admitted()


@pytest.mark.parametrize(
    ("changes", "decision"),
    [
        ({"paused_at": NOW}, Deferred(Reason.PAUSED)),
        (
            {"paused_at": NOW, "disabled_because": "the target answered 410"},
            Denied("the subscription is disabled: the target answered 410"),
        ),
    ],
)
def test_a_paused_subscription_s_deliveries_wait_and_a_disabled_one_s_are_dead(changes, decision):
    assert admit(control(**changes)) == decision


def test_deliveries_of_a_deleted_subscription_are_admitted_and_cancelled_then():
    assert admit(control(until=9, paused_at=NOW)) == Admitted()


def test_a_delivery_takes_a_concurrency_slot_and_the_next_one_waits():
    limited = control(slots=ConcurrencySlots(limit=1, taken=0, own=set()))
    assert admit(limited, signal_id=7) == Admitted(slot=True)
    assert admit(limited, signal_id=8) == Deferred(Reason.IN_FLIGHT)


def test_a_delivery_without_a_concurrency_slot_makes_no_reservation():
    rate = Rate(1, LONG_AGO)
    admit(control(slots=ConcurrencySlots(limit=1, taken=1, own=set()), rate=rate))
    assert rate.slot_at == LONG_AGO


def test_a_delivery_that_waits_for_its_reservation_gives_its_concurrency_slot_back():
    slots, rate = ConcurrencySlots(limit=1, taken=1, own={7}), Rate(1, NOW + timedelta(seconds=1))
    assert admit(control(slots=slots, rate=rate)) == Deferred(Reason.RATE)
    assert slots.left == 1


def test_a_delivery_goes_at_the_moment_that_its_rate_gives_it():
    moment = NOW + timedelta(seconds=0.1)
    assert admit(control(rate=Rate(10, LONG_AGO))) == Admitted(at=NOW, now=NOW)
    assert admit(control(rate=Rate(10, moment))) == Admitted(at=moment, now=NOW)
    assert admit(control(rate=Rate(10, LATER, waiting=True)), at=moment) == Admitted(at=moment, now=NOW)


def test_one_delivery_tries_a_target_whose_circuit_is_half_open():
    circuit = Circuit(failures=20, openings=1, retry_at=NOW)
    assert admit(control(), circuit) == Admitted(circuit=True, probe=True)
    assert circuit.probing_until == LATER
    assert admit(control(), circuit).reason is Reason.CIRCUIT


def test_a_target_that_failed_and_is_not_given_up_is_no_obstacle():
    assert admit(control(), Circuit(failures=3)) == Admitted(circuit=True, probe=False)


def test_an_attempt_at_a_target_whose_circuit_is_closed_is_no_probe():
    circuit = Circuit(failures=3)
    admit(control(), circuit)
    assert circuit.probing_until is None


def test_a_delivery_that_is_refused_for_another_reason_does_not_try_the_target():
    circuit = Circuit(failures=20, openings=1, retry_at=NOW)
    assert admit(control(slots=ConcurrencySlots(limit=1, taken=1, own=set())), circuit).reason is Reason.IN_FLIGHT
    assert circuit.probing_until is None
