from dataclasses import replace
from datetime import UTC, datetime

import pytest

from broker.filters import parse_filter
from broker.reach import Reach
from broker.signals import Scope, Signal, Throw
from broker.subscriptions import Subscription, SubscriptionSpec, Waiting, belonging_to_execution
from broker.targets import HandlerTarget, QueueTarget, WebhookTarget

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


def test_what_is_not_asked_for_is_left_out():
    spec = subscription().spec
    assert not spec.ordered
    assert not spec.once


def test_a_handler_s_address_names_its_app_and_its_function():
    target = HandlerTarget(app="billing", handler="charge")
    assert (target.app, target.handler) == ("billing", "charge")
    webhook = WebhookTarget(url="https://example.com/a/b")
    assert webhook.app == ""


def test_steps_are_several_targets_or_one_that_is_described():
    one, described = QueueTarget(queue="q"), QueueTarget(queue="q", description="first")
    assert not subscription().spec.in_steps
    assert subscription(targets=(one, one)).spec.in_steps
    assert subscription(targets=(described,)).spec.in_steps


def test_there_is_something_to_sign_if_any_target_is_a_webhook():
    queue, webhook = QueueTarget(queue="q"), WebhookTarget(url="https://example.com/")
    assert not subscription(targets=(queue,)).spec.is_signed
    assert subscription(targets=(queue, webhook)).spec.is_signed


@pytest.mark.parametrize(
    ("changes", "receives"),
    [
        ({}, True),
        ({"until": 9}, False),
        ({"consumed_by": 9}, False),
        ({"disabled_because": "the target answered 410"}, False),
    ],
)
def test_a_subscription_receives_until_it_is_deleted_consumed_or_disabled(changes, receives):
    assert replace(subscription(), **changes).receives is receives


def test_a_disabled_subscription_matches_nothing_and_says_why():
    mine = replace(subscription(), disabled_because="the target answered 410")
    assert mine.mismatch(signal()) == "the subscription is disabled: the target answered 410"


def test_a_replayed_signal_may_be_older_than_the_subscription():
    mine = subscription(since=50)
    assert mine.mismatch(signal(4)) == "the subscription was created after the signal"
    assert mine.mismatch(signal(4), replayed=True) is None


def test_a_filter_that_does_not_match_is_the_reason():
    mine = subscription(filter=parse_filter({"cpu": {"operator": "NUM_GT", "value": 90}}))
    assert mine.mismatch(signal(payload=b'{"cpu":91}')) is None
    assert mine.mismatch(signal(payload=b'{"cpu":90}')) == "the filter does not match: cpu: 90 is not NUM_GT 90"


ACME, ACME_AND_NONE = Reach(("acme",)), Reach(("acme",), untenanted=True)


@pytest.mark.parametrize(
    ("tenant", "owner", "reach", "sees", "owns"),
    [
        (None, Reach(), Reach(), True, True),
        (None, Reach(), ACME, False, False),
        (None, Reach(), ACME_AND_NONE, True, False),
        (None, ACME_AND_NONE, ACME, False, False),
        (None, ACME_AND_NONE, ACME_AND_NONE, True, True),
        (None, Reach(("acme", "beta"), untenanted=True), ACME_AND_NONE, False, False),
        (None, Reach(("beta",), untenanted=True), ACME_AND_NONE, False, False),
        ("acme", Reach(), ACME, True, True),
        ("acme", Reach(("beta", "acme")), ACME, True, True),
        ("beta", Reach(), ACME_AND_NONE, False, False),
    ],
)
def test_who_sees_a_subscription_and_who_changes_it(tenant, owner, reach, sees, owns):
    made = replace(subscription(tenant_id=tenant), owner=owner)
    assert (made.is_seen_by(reach), made.is_owned_by(reach)) == (sees, owns)


@pytest.mark.parametrize(
    ("thrown", "spec", "matches"),
    [
        (BROADCAST, {}, True),
        (UNTENANTED, {}, True),
        (LIMITED, {}, False),
        ({"audience": ("acme", "t1")}, {}, True),
        ({"audience": ()}, {}, True),
        ({**EXECUTION, "audience": ("t1",)}, {"execution_id": "e1"}, False),
        ({**EXECUTION, "audience": ("acme",)}, {"execution_id": "e1"}, True),
    ],
)
def test_a_subscription_without_a_tenant_gets_what_its_owner_may_read(thrown, spec, matches):
    made = replace(subscription(**spec), owner=ACME_AND_NONE)
    assert (made.mismatch(signal(**thrown)) is None) == matches


@pytest.mark.parametrize(
    ("audience", "first", "expected"),
    [
        (None, ("t1",), ("t1",)),
        (None, ("t1", "t2"), ("t1", "t2")),
        (("t1", "t3"), ("t1", "t2"), ("t1",)),
        (None, None, ()),
        (("t1",), None, ("t1",)),
    ],
)
def test_a_signal_to_an_execution_is_for_whoever_waits_there_first(audience, first, expected):
    throw = signal(**EXECUTION, audience=audience).throw
    waiting = [Waiting("a", first), Waiting("sig", ("t9",))]
    assert belonging_to_execution(throw, waiting).audience == expected
    assert belonging_to_execution(throw, []) == throw
