"""Creating API tokens and users."""

from __future__ import annotations

from collections.abc import Sequence

from broker.access import Permission, Principal
from broker.names import check_id, check_name
from broker.schemas.access import Limits, TokenRequest, UserChanges, UserRequest
from broker.store.administration.tokens import AccessStore, Token
from broker.store.administration.users import UserStore
from broker.users import User, check_password, check_user_name


async def create_token(access: AccessStore, wanted: TokenRequest, *, by: Principal) -> tuple[Token, str]:
    """Create the API token that is *wanted*; return it and its value, which is shown this once.

    Raises:
        InvalidField: Its name, or one of its names and tenants, is not allowed.
    """
    check_id(wanted.name, "/name")
    _check_limits(wanted)
    return await access.create_token(
        name=wanted.name,
        permissions=[Permission(permission) for permission in wanted.permissions],
        names=wanted.names,
        tenants=wanted.tenants,
        by=by,
    )


async def create_user(users: UserStore, wanted: UserRequest, password_hash: str, *, by: Principal) -> User:
    """Create the user that is *wanted* and that `check_user` has checked; the store gets its password's hash only.

    Raises:
        Conflict: There is a user of that name.
    """
    return await users.create(
        name=wanted.name,
        password=password_hash,
        permissions=[Permission(permission) for permission in wanted.permissions],
        names=wanted.names,
        tenants=wanted.tenants,
        groups=wanted.groups,
        by=by,
    )


def check_user(wanted: UserRequest) -> None:
    """Check the name, the password, the names, the tenants and the groups of a new user.

    Raises:
        InvalidField: One of them is not allowed.
    """
    check_user_name(wanted.name)
    check_password(wanted.password)
    _check_limits(wanted)
    _check_groups(wanted.groups)


def check_changes(wanted: UserChanges) -> None:
    """Check the new values of a user's fields.

    Raises:
        InvalidField: One of them is not allowed.
    """
    if "password" in wanted.model_fields_set:
        check_password(wanted.password)
    _check_limits(wanted)
    _check_groups(wanted.groups)


def _check_limits(limits: Limits) -> None:
    for position, name in enumerate(limits.names or ()):
        check_name(name, f"/names/{position}")
    for position, tenant in enumerate(limits.tenants or ()):
        check_id(tenant, f"/tenants/{position}")


def _check_groups(groups: Sequence[str]) -> None:
    for position, group in enumerate(groups):
        check_id(group, f"/groups/{position}")
