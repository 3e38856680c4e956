"""Creating API tokens and users."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from broker.access import Limits, Permission, Principal, require_ending, require_within
from broker.errors import InvalidField
from broker.moments import next_millisecond
from broker.names import check_id, check_name
from broker.schemas.access import LimitsSchema, TokenRequest, UserChanges, UserRequest
from broker.store.administration.tokens import AccessStore, Token
from broker.store.administration.users import UserStore
from broker.users import User, check_password, check_user_name


async def create_token(access: AccessStore, wanted: TokenRequest, *, by: Principal) -> tuple[Token, str]:
    """Create the API token that is *wanted*; return it and its value, which is shown this once.

    Raises:
        InvalidField: Its name, one of its limits, or the moment when it expires is not allowed.
        PermissionDenied: It would reach further than *by* does, or outlast it.
    """
    check_id(wanted.name, "/name")
    _check_limits(wanted)
    limits = _read_limits(wanted)
    require_within(by, limits)
    permissions = [Permission(permission) for permission in wanted.permissions]
    expires_at = check_expiry(wanted.expires_at)
    require_ending(by, expires_at)
    return await access.create_token(
        name=wanted.name, permissions=permissions, limits=limits, expires_at=expires_at, by=by
    )


async def create_user(users: UserStore, wanted: UserRequest, password_hash: str, *, by: Principal) -> User:
    """Create the user that is *wanted* and that `check_user` has checked; the store gets its password's hash only.

    Raises:
        Conflict: There is a user of that name.
        PermissionDenied: It would reach further than *by* does.
    """
    return await users.create(
        name=wanted.name,
        password=password_hash,
        permissions=[Permission(permission) for permission in wanted.permissions],
        limits=_read_limits(wanted),
        groups=wanted.groups,
        by=by,
    )


def check_expiry(expires_at: datetime | None) -> datetime | None:
    """Return the moment when new credentials expire, in full milliseconds; None: never.

    Raises:
        InvalidField: It is past.
    """
    if expires_at is None:
        return None
    if expires_at <= datetime.now(UTC):
        raise InvalidField("/expiresAt", "is past already")
    return next_millisecond(expires_at)


def check_user(wanted: UserRequest) -> None:
    """Check the name, the password, the limits and the groups of a new user.

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


def _check_limits(limits: LimitsSchema) -> None:
    for position, name in enumerate(limits.names or ()):
        check_name(name, f"/names/{position}")
    for position, tenant in enumerate(limits.tenants or ()):
        check_id(tenant, f"/tenants/{position}")
    for position, queue in enumerate(limits.queues or ()):
        check_name(queue, f"/queues/{position}")


def _read_limits(wanted: LimitsSchema) -> Limits:
    names, tenants, queues = (
        None if one is None else tuple(one) for one in (wanted.names, wanted.tenants, wanted.queues)
    )
    return Limits(names=names, tenants=tenants, queues=queues, untenanted=wanted.untenanted)


def _check_groups(groups: Sequence[str]) -> None:
    for position, group in enumerate(groups):
        check_id(group, f"/groups/{position}")
