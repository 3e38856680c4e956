"""What counts towards a quota, and when it is used up."""

from contextlib import suppress

import pytest

from broker.errors import QuotaExceeded
from broker.quotas import Meter, Quota, QuotaKind, Subject, subjects_of
from broker.signals import Scope, Source, Throw
from tests.support.clock import Clock

ACME, BETA = Subject(QuotaKind.TENANT, "acme"), Subject(QuotaKind.TENANT, "beta")
TOKEN = Subject(QuotaKind.TOKEN, "7")


@pytest.mark.parametrize(
    ("throw", "tenants", "subjects"),
    [
        (Throw(name="a"), None, []),
        (Throw(name="a", token_id=7), None, [TOKEN]),
        (Throw(name="a", token_id=7, source=Source.SIGNAL_ENDPOINT), None, []),
        (Throw(name="a", scope=Scope.TENANT, tenant_id="acme"), None, [ACME]),
        (Throw(name="a", scope=Scope.TENANT, tenant_id="acme"), ("acme", "beta"), [ACME]),
        (Throw(name="a", token_id=7, audience=("beta",)), ("beta",), [TOKEN, BETA]),
        (Throw(name="a", scope=Scope.UNTENANTED), ("acme", "beta"), [ACME, BETA]),
        (Throw(name="a", scope=Scope.EXECUTION, execution_id="e", audience=("acme",)), ("acme",), [ACME]),
    ],
)
def test_a_throw_counts_for_its_token_and_for_the_tenants_that_its_caller_is_limited_to(throw, tenants, subjects):
    assert list(subjects_of(throw, tenants)) == subjects


class Caller:
    """Throws as fast as the meter lets it."""

    def __init__(self, quota, *, share=1.0):
        self.clock = Clock()
        self.meter = Meter(TOKEN, quota, share=share, now=0.0)

    def throw(self, payload=b"{}"):
        throw = Throw(name="a", payload=payload)
        self.meter.count()
        self.meter.check(throw, self.clock())
        self.meter.take(throw)

    def throw_for(self, seconds, every=0.005):
        accepted = 0
        for _ in range(round(seconds / every)):
            self.clock.now += every
            with suppress(QuotaExceeded):
                self.throw()
                accepted += 1
        return accepted


def test_so_many_throws_a_second_are_accepted_after_a_small_burst():
    assert Caller(Quota(throws_per_second=40)).throw_for(5) == pytest.approx(40 * 5 + 10, abs=2)
    assert Caller(Quota(throws_per_second=0.5)).throw_for(9) == 5


def test_a_refusal_says_when_to_try_again():
    caller = Caller(Quota(throws_per_second=0.5))
    caller.throw()
    with pytest.raises(QuotaExceeded, match=r"throwsPerSecond of the token .7. \(0.5\) is used up") as caught:
        caller.throw()
    assert (caught.value.quota, caught.value.retry_after) == ("throwsPerSecond", 2)


def test_gateways_share_by_what_is_tried_at_each():
    caller = Caller(Quota(throws_per_second=40), share=0.5)
    assert caller.throw_for(2) == pytest.approx(40 + 5, abs=2)
    caller.meter.look(2.0)
    caller.meter.learn(others=3 * caller.meter.demand, gateways=2, payload_bytes=0, reported=0)
    assert caller.throw_for(4) == pytest.approx(40, abs=5)
    caller.meter.learn(others=0, gateways=2, payload_bytes=0, reported=0)
    assert caller.throw_for(2) == pytest.approx(80, abs=5)


def test_a_gateway_that_nobody_has_used_yet_has_a_small_share():
    caller = Caller(Quota(throws_per_second=400), share=0.5)
    caller.meter.learn(others=1000, gateways=2, payload_bytes=0, reported=0)
    assert 0 < caller.throw_for(1) <= 15


def test_the_bytes_of_a_day_are_counted_over_all_gateways():
    caller = Caller(Quota(payload_bytes_per_day=100))
    caller.throw(b"x" * 60)
    with pytest.raises(QuotaExceeded, match="payloadBytesPerDay of the token '7' \\(100\\)") as caught:
        caller.throw(b"x" * 41)
    assert 0 < caught.value.retry_after <= 86_400
    caller.meter.learn(others=0, gateways=1, payload_bytes=90, reported=60)
    caller.throw(b"x" * 10)
    with pytest.raises(QuotaExceeded):
        caller.throw(b"x")


def test_what_was_used_is_remembered_however_long_nothing_is_tried():
    caller = Caller(Quota(payload_bytes_per_day=100))
    caller.throw(b"x" * 60)
    caller.meter.learn(others=0, gateways=1, payload_bytes=60, reported=60)
    slow = Caller(Quota(throws_per_second=0.02))
    slow.throw()
    for one in (caller, slow):
        for _ in range(40):
            one.meter.look(0.5)
    assert not caller.meter.is_idle(20.0)
    assert not slow.meter.is_idle(20.0)
    assert slow.meter.is_idle(51.0)
