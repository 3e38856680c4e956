from dataclasses import replace

import pytest

from broker.access import (
    ADMINISTRATOR,
    API_TOKEN,
    ENDPOINT_TOKEN,
    Limits,
    Permission,
    Principal,
    digest,
    is_endpoint_token,
    make_token,
)
from broker.reach import Reach
from broker.signals import Scope, Throw


def principal(*permissions, names=None, tenants=None):
    return Principal(name="p", permissions=frozenset(permissions), names=names, tenants=tenants)


def test_a_principal_may_do_what_its_permissions_say():
    mine = principal(Permission.THROW)
    assert mine.may(Permission.THROW)
    assert mine.may(Permission.THROW, "sig")
    assert not mine.may(Permission.READ)


def test_an_administrator_may_do_everything():
    assert all(ADMINISTRATOR.may(permission, "sig") for permission in Permission)


def test_a_principal_may_be_limited_to_names():
    mine = principal(Permission.THROW, names=("policy.#", "order.created"))
    assert mine.may(Permission.THROW, "policy.changed")
    assert mine.may(Permission.THROW, "order.created")
    assert not mine.may(Permission.THROW, "order.deleted")


@pytest.mark.parametrize(
    ("reach", "tenants", "owns"),
    [
        (Reach(), None, True),
        (Reach(), ("t1",), True),
        (Reach(("t1",)), ("t1",), True),
        (Reach(("t1",)), ("t2",), False),
        (Reach(("t1",)), ("t1", "t2"), False),
        (Reach(("t1", "t2")), ("t1", "t2"), True),
        (Reach(("t1",)), None, False),
        (Reach(("t1",), untenanted=True), None, False),
        (Reach(("t1",), untenanted=True), (), False),
        (Reach((), untenanted=True), (), True),
        (Reach(()), ("t1",), False),
    ],
)
def test_what_belongs_to_tenants_is_changed_by_those(reach, tenants, owns):
    assert reach.owns(tenants) == owns


BROADCAST, LIMITED, TO_NONE = Throw(name="a"), Throw(name="a", audience=("t1",)), Throw(name="a", audience=())
UNTENANTED = Throw(name="a", scope=Scope.UNTENANTED)
EXECUTION = Throw(name="a", scope=Scope.EXECUTION, execution_id="e")
OF_T1 = Throw(name="a", scope=Scope.TENANT, tenant_id="t1")
IN_T1 = replace(EXECUTION, audience=("t1",))


@pytest.mark.parametrize(
    ("reach", "readable"),
    [
        (Reach(), (BROADCAST, LIMITED, TO_NONE, UNTENANTED, EXECUTION, OF_T1, IN_T1)),
        (Reach(("t1",)), (BROADCAST, LIMITED, OF_T1, IN_T1)),
        (Reach(("t2",)), (BROADCAST,)),
        (Reach(("t2",), untenanted=True), (BROADCAST, TO_NONE, UNTENANTED, EXECUTION)),
        (Reach(()), (BROADCAST,)),
    ],
)
def test_a_signal_is_read_by_those_it_is_for(reach, readable):
    every = (BROADCAST, LIMITED, TO_NONE, UNTENANTED, EXECUTION, OF_T1, IN_T1)
    assert tuple(filter(reach.reads, every)) == readable


OF_ACME = Limits(names=("order.*",), tenants=("acme",))


@pytest.mark.parametrize(
    ("limits", "other", "excess"),
    [
        (Limits(), Limits(), None),
        (Limits(), OF_ACME, None),
        (OF_ACME, Limits(), "names"),
        (OF_ACME, replace(OF_ACME, names=("order.a",)), None),
        (OF_ACME, replace(OF_ACME, names=("order.#",)), "names"),
        (OF_ACME, replace(OF_ACME, tenants=None), "tenants"),
        (OF_ACME, replace(OF_ACME, tenants=("acme", "globex")), "tenants"),
        (OF_ACME, replace(OF_ACME, tenants=()), None),
        (OF_ACME, replace(OF_ACME, untenanted=True), "untenanted"),
        (replace(OF_ACME, untenanted=True), OF_ACME, None),
        (OF_ACME, replace(OF_ACME, queues=("acme.#",)), None),
        (OF_ACME, replace(OF_ACME, queues=("acme-1.*",)), None),
        (OF_ACME, replace(OF_ACME, queues=("acme1.#",)), "queues"),
        (OF_ACME, replace(OF_ACME, queues=("*.acme",)), "queues"),
        (Limits(queues=("a.*",)), Limits(queues=("a.b",)), None),
        (Limits(queues=("a.*",)), Limits(queues=("a.#",)), "queues"),
        (Limits(queues=("a.*",)), Limits(tenants=("a",)), "queues"),
    ],
)
def test_limits_tell_in_what_others_reach_further(limits, other, excess):
    assert limits.find_excess(other) == excess


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ("acme", True),
        ("acme.orders", True),
        ("acme-orders", True),
        ("acmecorp.orders", False),
        ("orders", False),
        ("xacme.orders", False),
        ("", False),
    ],
)
def test_who_is_limited_to_tenants_delivers_to_queues_that_begin_with_their_ids(queue, expected):
    assert Limits(tenants=("acme",)).include_queue(queue) is expected
    assert Limits().include_queue(queue)
    assert not Limits(tenants=()).include_queue(queue)
    assert Limits(tenants=("x",), queues=("acme.#", "acme-orders")).include_queue(queue) is expected


def test_tokens_are_long_random_and_kept_as_digests():
    token, other = make_token("sb_"), make_token("sb_")
    assert token.startswith("sb_")
    assert len(token) == 46
    assert token != other
    assert len(digest(token)) == 32
    assert token.encode() not in digest(token)


def test_a_token_made_for_an_endpoint_is_recognised():
    assert is_endpoint_token(make_token(ENDPOINT_TOKEN))


@pytest.mark.parametrize(
    "text", ["", API_TOKEN + "a" * 43, "signal_" + "a" * 42, "signal_" + "a" * 44, "signal_" + "a" * 42 + "+"]
)
def test_what_is_not_made_like_an_endpoint_s_token_is_not_looked_for(text):
    assert not is_endpoint_token(text)


@pytest.mark.parametrize(
    ("ids", "key"),
    [
        ({}, "p"),
        ({"user_id": 3}, "user 3"),
        ({"token_id": 3}, "token 3"),
        ({"token_id": 3, "endpoint_id": 4}, "endpoint token 3"),
    ],
)
def test_principals_with_the_same_name_or_number_are_told_apart(ids, key):
    assert Principal(name="p", permissions=frozenset(), **ids).key == key
