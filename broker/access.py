"""Access: principals, their permissions, and the tokens that open the gateway."""

from __future__ import annotations

import enum
import hashlib
import re
import secrets
from dataclasses import dataclass

from broker.errors import PermissionDenied
from broker.names import covers, matches


class Permission(enum.StrEnum):
    """What a principal may do."""

    THROW = "signals:throw"
    READ = "signals:read"
    SUBSCRIPTIONS = "subscriptions:manage"
    DELIVERIES = "deliveries:manage"
    ENDPOINTS = "endpoints:manage"
    ADMIN = "admin"
    """Everything, tokens and users included."""


_ENDPOINT_TOKEN = re.compile(r"signal_[A-Za-z0-9_-]{43}")

API_TOKEN = "sb_"  # noqa: S105  (a prefix)
ENDPOINT_TOKEN = "signal_"  # noqa: S105  (a prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated caller.

    Args:
        name: For logs and error messages.
        permissions: What it may do; `admin` includes everything.
        names: Patterns of the signal names it is limited to; None is no limit.
        tenants: The tenants it is limited to (and the untenanted); None is no limit.
        token_id: The id of its token, if the token is in the store.
        user_id: The id of the user, if it signed in as one.
        endpoint_id: The signal endpoint that its token opens, if it opens nothing else; *token_id* is then among the
            ids of such tokens.
    """

    name: str
    permissions: frozenset[Permission]
    names: tuple[str, ...] | None = None
    tenants: tuple[str, ...] | None = None
    token_id: int | None = None
    user_id: int | None = None
    endpoint_id: int | None = None

    @property
    def key(self) -> str:
        """A unique key of the principal: names are not unique, and each kind has ids of its own."""
        if self.endpoint_id is not None:
            return f"endpoint token {self.token_id}"
        if self.token_id is not None:
            return f"token {self.token_id}"
        return self.name if self.user_id is None else f"user {self.user_id}"

    def may(self, permission: Permission, signal_name: str | None = None) -> bool:
        """Return whether it has *permission*, for *signal_name* where one is given."""
        if permission not in self.permissions and Permission.ADMIN not in self.permissions:
            return False
        return signal_name is None or self.names is None or any(matches(p, signal_name) for p in self.names)

    def may_all(self, permission: Permission, pattern: str) -> bool:
        """Return whether it has *permission* for every signal name that *pattern* matches; a name matches itself."""
        return self.may(permission) and (self.names is None or covers(self.names, pattern))

    def may_name_tenant(self, tenant_id: str) -> bool:
        """Return whether it may name *tenant_id*."""
        return self.tenants is None or tenant_id in self.tenants

    def sees(self, tenant_id: str | None) -> bool:
        """Return whether it may see what belongs to *tenant_id*; every principal sees what belongs to no tenant."""
        return tenant_id is None or self.may_name_tenant(tenant_id)


def require_permission(principal: Principal, permission: Permission, signal_name: str | None = None) -> None:
    """Check that *principal* has *permission* (for *signal_name*, where one is given).

    Raises:
        PermissionDenied: It does not.
    """
    if not principal.may(permission, signal_name):
        what = f" for signals named {signal_name!r}" if principal.may(permission) else ""
        raise PermissionDenied(
            f"This needs the permission {permission.value}{what}, which {principal.name!r} does not have."
        )


def require_pattern(principal: Principal, permission: Permission, pattern: str) -> None:
    """Check that *principal* has *permission* for every signal name that *pattern* matches.

    Raises:
        PermissionDenied: It does not, or its names match only some of these.
    """
    require_permission(principal, permission)
    if not principal.may_all(permission, pattern):
        raise PermissionDenied(
            f"This needs the permission {permission.value} for all signals that {pattern!r} matches, which"
            f" {principal.name!r} does not have."
        )


def require_tenant(principal: Principal, tenant_id: str | None) -> None:
    """Check that *principal* may name *tenant_id*, if one is named.

    Raises:
        PermissionDenied: It is limited to other tenants.
    """
    if tenant_id is not None and not principal.may_name_tenant(tenant_id):
        raise PermissionDenied(f"{principal.name!r} may not name the tenant {tenant_id!r}.")


ADMINISTRATOR = Principal(name="admin", permissions=frozenset({Permission.ADMIN}))


def make_token(prefix: str) -> str:
    """Return a new token: *prefix* and 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def is_endpoint_token(text: str) -> bool:
    """Return whether *text* has the form of a signal endpoint's token, so that a look-up is worthwhile."""
    return _ENDPOINT_TOKEN.fullmatch(text) is not None


def digest(token: str) -> bytes:
    """Return the digest that is stored of *token*: its SHA-256, which suffices for a long random value."""
    return hashlib.sha256(token.encode()).digest()
