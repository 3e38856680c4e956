from broker.access import ADMINISTRATOR, Permission, Principal, digest, make_token


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


def test_a_principal_limited_to_tenants_sees_those_and_the_untenanted():
    mine = principal(Permission.READ, tenants=("t1",))
    assert mine.sees("t1")
    assert mine.sees(None)
    assert not mine.sees("t2")
    assert not mine.may_name_tenant("t2")


def test_a_principal_with_an_empty_list_of_tenants_sees_the_untenanted_only():
    mine = principal(Permission.READ, tenants=())
    assert mine.sees(None)
    assert not mine.sees("t1")


def test_tokens_are_long_random_and_kept_as_digests():
    token, other = make_token("sb_"), make_token("sb_")
    assert token.startswith("sb_")
    assert len(token) == 46
    assert token != other
    assert len(digest(token)) == 32
    assert token.encode() not in digest(token)
