from dataclasses import replace
from datetime import UTC, datetime

import pytest

from broker.signals import Scope, Signal, Throw
from broker.subscriptions import Subscription, SubscriptionSpec
from broker.targets import QueueTarget

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def signal(number=10, **fields):
    return Signal(id=number, created_at=NOW, throw=Throw(**{"name": "sig", **fields}))


def subscription(since=1, until=None, consumed_by=None, **spec):
    target = QueueTarget(queue="q")
    return Subscription(
        id=1,
        spec=SubscriptionSpec(**{"name": "sig", "targets": (target,), **spec}),
        created_at=NOW,
        since=since,
        until=until,
        consumed_by=consumed_by,
    )


BROADCAST = {}
TENANT = {"scope": Scope.TENANT, "tenant_id": "t1"}
UNTENANTED = {"scope": Scope.UNTENANTED}
EXECUTION = {"scope": Scope.EXECUTION, "execution_id": "e1"}
LIMITED = {"audience": ("t1",)}


@pytest.mark.parametrize(
    ("thrown", "spec", "reason"),
    [
        (BROADCAST, {}, None),
        (BROADCAST, {"tenant_id": "t2"}, None),
        (BROADCAST, {"execution_id": "e1"}, None),
        (BROADCAST, {"name": "si"}, "the name 'si' does not match"),
        (BROADCAST, {"name": "other.#"}, "the pattern 'other.#' does not match"),
        (TENANT, {"tenant_id": "t1"}, None),
        (TENANT, {"tenant_id": "t1", "execution_id": "e1"}, None),
        (TENANT, {}, "it is for the tenant 't1' only"),
        (TENANT, {"tenant_id": "t2"}, "it is for the tenant 't1' only"),
        (UNTENANTED, {}, None),
        (UNTENANTED, {"tenant_id": "t1"}, "it is for subscriptions without a tenant only"),
        (EXECUTION, {"execution_id": "e1"}, None),
        (EXECUTION, {"execution_id": "e1", "tenant_id": "t1"}, None),
        (EXECUTION, {}, "it is for the execution 'e1' only"),
        (EXECUTION, {"execution_id": "e2"}, "it is for the execution 'e1' only"),
        ({**EXECUTION, **LIMITED}, {"execution_id": "e1", "tenant_id": "t1"}, None),
        (
            {**EXECUTION, **LIMITED},
            {"execution_id": "e1", "tenant_id": "t2"},
            "the caller does not reach the subscription's tenant",
        ),
        (LIMITED, {}, None),
        (LIMITED, {"tenant_id": "t1"}, None),
        (LIMITED, {"tenant_id": "t2"}, "the caller does not reach the subscription's tenant"),
    ],
)
def test_a_signal_matches_by_name_and_scope(thrown, spec, reason):
    assert subscription(**spec).mismatch(signal(**thrown)) == reason


def test_a_subscription_gets_signals_numbered_between_its_creation_and_its_deletion():
    mine = subscription(since=5, until=20)
    assert mine.mismatch(signal(4)) == "the subscription was created after the signal"
    assert mine.mismatch(signal(6)) is None
    assert mine.mismatch(signal(21)) == "the subscription was deleted before the signal"


def test_a_consumed_subscription_matches_only_the_signal_that_consumed_it():
    mine = subscription(consumed_by=9)
    assert mine.mismatch(signal(9)) is None
    assert mine.mismatch(signal(10)) == "signal 9 consumed the subscription"


def test_the_reasons_are_found_in_a_fixed_order():
    """`explain` shows the first reason; time comes before name, name before scope."""
    mine = replace(subscription(name="other", tenant_id="t2"), since=50)
    assert mine.mismatch(signal(**TENANT)) == "the subscription was created after the signal"
