from base64 import b64encode
from datetime import UTC, datetime

import pytest

from broker.access import Permission
from broker.errors import InvalidField
from broker.users import User, check_password, check_user_name, hash_password, is_password, make_decoy
from gateway.auth import read_user

PASSWORD = "correct horse"
KEPT = hash_password(PASSWORD)


def user(name="demo", password=KEPT, **spec):
    defaults = {"permissions": (), "names": None, "tenants": None, "groups": ()}
    return User(
        id=1,
        name=name,
        password=password,
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
        created_by="admin",
        **{**defaults, **spec},
    )


# What is kept of a password, and what may be one


def test_passwords_are_kept_as_argon2id_with_a_salt_of_their_own():
    assert KEPT.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hash_password(PASSWORD) != KEPT
    assert is_password(PASSWORD, KEPT)
    assert not is_password(PASSWORD + " ", KEPT)


def test_a_decoy_costs_what_a_password_costs_and_is_none():
    decoy = make_decoy()
    assert not is_password(PASSWORD, decoy)
    assert decoy.rpartition("$")[0].rpartition("$")[0] == KEPT.rpartition("$")[0].rpartition("$")[0]
    assert [len(part) for part in decoy.split("$")] == [len(part) for part in KEPT.split("$")]


def test_what_is_kept_of_a_password_is_not_in_a_users_representation():
    assert KEPT not in repr(user())


@pytest.mark.parametrize("password", ["12345678", "x" * 1024, "a:b:c:d:", "pässwörd", "\U0001f511" * 8, "with blanks "])
def test_a_password_has_8_to_1024_characters(password):
    assert check_password(password) == password


@pytest.mark.parametrize("password", ["1234567", "x" * 1025, "1234567\n", "1234567\x00", "1234567\ud800"])
def test_other_passwords_are_refused_and_not_repeated(password):
    with pytest.raises(InvalidField) as caught:
        check_password(password)
    assert caught.value.pointer == "/password"
    assert password not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a:b", "x" * 256, "a\x00b"])
def test_a_name_that_http_basic_or_the_store_cannot_carry_is_refused(name):
    with pytest.raises(InvalidField):
        check_user_name(name)


# Principals


def test_a_users_principal_is_named_and_limited_as_the_user_is():
    principal = user(permissions=(Permission.THROW,), names=("a.#",), tenants=("t1",), groups=("sales",)).principal
    assert (principal.name, principal.user_id, principal.token_id) == ("demo", 1, None)
    assert principal.may(Permission.THROW, "a.b")
    assert not principal.may(Permission.THROW, "b")
    assert not principal.may(Permission.READ)
    assert principal.tenants == ("t1",)


def test_limits_to_tenants_do_not_apply_to_camundas_administrators_but_they_need_permissions():
    principal = user(tenants=("t1",), groups=("camunda-admin",)).principal
    assert principal.tenants is None
    assert not principal.may(Permission.THROW)


def test_a_user_and_a_token_of_the_same_name_are_told_apart():
    assert user(name="token 1").principal.key == "user 1"
    assert user(name="admin").principal.key == "user 1"


# The header


def basic(text, scheme="Basic "):
    return scheme + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic("demo:secret"), ("demo", "secret")),
        (basic("demo:se:cr:et"), ("demo", "se:cr:et")),
        (basic("jörg:pässwörd €"), ("jörg", "pässwörd €")),
        (basic("demo:secret", "Basic  "), ("demo", "secret")),
        (basic("demo:secret1").rstrip("="), ("demo", "secret1")),
        (basic("demo:"), ("demo", "")),
        (basic(":secret"), ("", "secret")),
        (basic("demo"), None),
        ("Basic", None),
        ("Basic ", None),
        ("Basic !!!!", None),
        ("Basic ZGVt bzpkZW1v", None),
        ("Basic Z", None),
        ("Basic ä", None),
        ("Basic " + b64encode(b"demo:\xff\xff").decode(), None),
    ],
)
def test_http_basic_is_read_like_this(header, expected):
    assert read_user(header) == expected
