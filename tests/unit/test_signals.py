from datetime import UTC, datetime, timedelta

import pytest

from broker.errors import InvalidField
from broker.signals import Scope, Signal, Throw

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_broadcast_is_a_fan_out_keyed_by_its_name():
    throw = Throw(name="policy.changed")
    assert (throw.is_fanout, throw.routing_key, throw.carbon_copies) == (True, "policy.changed", [])


def test_a_tenants_signal_is_keyed_by_the_tenant():
    throw = Throw(name="policy.changed", scope=Scope.TENANT, tenant_id="acme.eu")
    assert (throw.is_fanout, throw.routing_key) == (False, "tenant.acme%2Eeu.policy.changed")


def test_an_executions_signal_is_keyed_by_the_execution():
    throw = Throw(name="sig", scope=Scope.EXECUTION, execution_id="a:1")
    assert throw.routing_key == "execution.a%3A1.sig"


def test_a_limited_broadcast_goes_to_the_untenanted_with_a_copy_for_each_tenant():
    throw = Throw(name="sig", audience=("t1", "t.2"))
    assert (throw.is_fanout, throw.routing_key) == (False, "untenanted.sig")
    assert throw.carbon_copies == ["tenant.t1.sig", "tenant.t%2E2.sig"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"scope": Scope.TENANT, "tenant_id": "t" * 250}, "/tenantId"),
        ({"scope": Scope.EXECUTION, "execution_id": "é" * 42}, "/executionId"),
        ({"scope": Scope.UNTENANTED, "name": "n" * 245}, "/name"),
        ({"audience": ("t" * 250,)}, "/name"),
    ],
)
def test_a_routing_key_over_255_bytes_is_refused_with_the_field_that_makes_it_so(fields, pointer):
    with pytest.raises(InvalidField, match="at most 255") as refused:
        Throw(**{"name": "sig", **fields})
    assert refused.value.pointer == pointer


def test_a_routing_key_of_255_bytes_passes():
    assert len(Throw(name="n" * 244, scope=Scope.UNTENANTED).routing_key) == 255


def test_a_limited_throw_to_an_execution_reaches_its_tenants_only_and_has_no_copies():
    throw = Throw(name="sig", scope=Scope.EXECUTION, execution_id="e", audience=("t1",))
    assert (throw.routing_key, throw.carbon_copies) == ("execution.e.sig", [])


def test_a_typed_view_that_no_header_can_hold_is_refused():
    types = {f"v{i}": {"type": "Date"} for i in range(3000)}
    with pytest.raises(InvalidField, match="come to more than 49152 bytes"):
        Throw(name="sig", types=types)


def test_a_typed_view_of_48_kib_fits_into_a_header_and_one_byte_more_does_not():
    around = len('{"v":{"type":""}}')
    Throw(name="sig", types={"v": {"type": "x" * (49152 - around)}})
    with pytest.raises(InvalidField, match="come to more than 49152 bytes"):
        Throw(name="sig", types={"v": {"type": "x" * (49153 - around)}})


def accepted_now(**moments):
    return Signal(id=1, created_at=NOW, throw=Throw(name="sig", **moments))


@pytest.mark.parametrize(
    ("deliver_at", "expected"), [(None, False), (NOW - HOUR, False), (NOW, False), (NOW + HOUR, True)]
)
def test_a_signal_is_scheduled_if_its_moment_comes_after_its_acceptance(deliver_at, expected):
    assert accepted_now(deliver_at=deliver_at).is_scheduled is expected


@pytest.mark.parametrize(
    ("moments", "pointer", "why"),
    [
        ({"expires_at": NOW}, "/expiresAt", "is past already"),
        ({"deliver_at": NOW - 2 * HOUR, "expires_at": NOW - HOUR}, "/expiresAt", "is past already"),
        ({"deliver_at": NOW + timedelta(days=367)}, "/deliverAt", "is more than 366 days ahead"),
        ({"deliver_at": NOW + timedelta(days=366, microseconds=1)}, "/deliverAt", "is more than 366 days ahead"),
        ({"expires_at": NOW + timedelta(days=367)}, "/expiresAt", "is more than 366 days ahead"),
    ],
)
def test_moments_that_make_no_sense_at_the_acceptance_are_refused(moments, pointer, why):
    with pytest.raises(InvalidField) as refused:
        accepted_now(**moments).check_moments()
    assert (refused.value.pointer, refused.value.detail) == (pointer, why)


def test_moments_within_a_year_pass():
    accepted_now(deliver_at=NOW - HOUR, expires_at=NOW + timedelta(days=366)).check_moments()


@pytest.mark.parametrize("expires_at", [NOW + HOUR, NOW])
def test_a_signal_that_would_expire_before_it_is_delivered_is_refused(expires_at):
    with pytest.raises(InvalidField, match="/expiresAt: must be after deliverAt"):
        Throw(name="sig", deliver_at=NOW + HOUR, expires_at=expires_at)


def test_an_ordering_key_holds_what_an_id_may_hold():
    with pytest.raises(InvalidField, match="/orderingKey: contains the character U"):
        Throw(name="sig", ordering_key="a\x00")
