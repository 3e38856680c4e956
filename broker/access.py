"""Access: principals, their permissions, and the tokens that open the gateway."""

from __future__ import annotations

import enum
import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from broker.errors import PermissionDenied
from broker.moments import show_moment
from broker.names import covers, literal_words, matches
from broker.reach import Reach


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

_AFTER_TENANT = (".", "-", "_", ":", "/")
"""What may follow a tenant's id in the name of one of its queues."""

API_TOKEN = "sb_"  # noqa: S105  (a prefix)
ENDPOINT_TOKEN = "signal_"  # noqa: S105  (a prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a token, a user or a principal is limited to.

    Args:
        names: Patterns of the signal names it is limited to; None is no limit.
        tenants: The tenants it is limited to; None is no limit.
        queues: Patterns of the queues it may deliver to. None leaves those that begin with the id of one of its
            tenants, or all if it is not limited to tenants.
        untenanted: Whether it sees what belongs to no tenant, and may subscribe without a tenant, although it is
            limited to tenants.
    """

    names: tuple[str, ...] | None = None
    tenants: tuple[str, ...] | None = None
    queues: tuple[str, ...] | None = None
    untenanted: bool = False

    @property
    def reach(self) -> Reach:
        """The tenants it acts for."""
        return Reach(self.tenants, self.untenanted)

    @property
    def are_none(self) -> bool:
        """Whether there is no limit."""
        return self.names is None and self.tenants is None and self.queues is None

    @property
    def hide_nothing(self) -> bool:
        """Whether they let everything be seen that is permitted."""
        return self.names is None and self.tenants is None

    def include_names(self, pattern: str) -> bool:
        """Return whether the names match all names that *pattern* matches; a name matches itself."""
        return self.names is None or covers(self.names, pattern)

    def include_queue(self, queue: str) -> bool:
        """Return whether signals may be delivered to *queue*."""
        if self.queues is not None:
            return any(matches(pattern, queue) for pattern in self.queues)
        return self._are_of_tenants(queue)

    def find_excess(self, other: Limits) -> str | None:
        """Return the limit in which *other* reaches further, None if it does in none."""
        if self.names is not None and (other.names is None or not all(map(self.include_names, other.names))):
            return "names"
        if not Reach(self.tenants).includes(Reach(other.tenants)):
            return "tenants"
        if not self.reach.includes(other.reach):
            return "untenanted"
        return None if self._include_queues_of(other) else "queues"

    def _include_queues_of(self, other: Limits) -> bool:
        if self.queues is None and self.tenants is None:
            return True
        if other.queues is None:  # those of its tenants, which no patterns can express
            return self.queues is None and other.tenants is not None
        if self.queues is not None:
            return all(covers(self.queues, pattern) for pattern in other.queues)
        return all(self._are_of_tenants(literal_words(pattern)) for pattern in other.queues)

    def _are_of_tenants(self, queue: str) -> bool:
        if self.tenants is None:
            return True
        beginnings = tuple(tenant + mark for tenant in self.tenants for mark in _AFTER_TENANT)
        return queue in self.tenants or queue.startswith(beginnings)


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal(Limits):
    """An authenticated caller.

    Args:
        name: For logs and error messages.
        permissions: What it may do; `admin` includes everything.
        token_id: The id of its token, if the token is in the store.
        user_id: The id of the user, if it signed in as one.
        endpoint_id: The signal endpoint that its token opens, if it opens nothing else; *token_id* is then among the
            ids of such tokens.
        expires_at: When its token expires; None: never, or it needs none.
    """

    name: str
    permissions: frozenset[Permission]
    token_id: int | None = None
    user_id: int | None = None
    endpoint_id: int | None = None
    expires_at: datetime | None = None

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
        return self.may(permission) and self.include_names(pattern)

    def may_name_tenant(self, tenant_id: str) -> bool:
        """Return whether it may name *tenant_id*."""
        return self.tenants is None or tenant_id in self.tenants

    def speaks_for(self, tenant_id: str) -> bool:
        """Return whether it may do whatever *tenant_id* may: it is not limited to some of its names or queues."""
        return self.may_name_tenant(tenant_id) and self.names is None and self.queues is None


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


def require_any(principal: Principal, permissions: Collection[Permission]) -> None:
    """Check that *principal* has one of *permissions*.

    Raises:
        PermissionDenied: It has none of them.
    """
    if not any(map(principal.may, permissions)):
        names = " or ".join(permission.value for permission in permissions)
        raise PermissionDenied(f"This needs the permission {names}, which {principal.name!r} does not have.")


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


def require_within(principal: Principal, limits: Limits) -> None:
    """Check that *limits*, of what *principal* makes or changes, reach no further than its own.

    Raises:
        PermissionDenied: They do.
    """
    excess = principal.find_excess(limits)
    if excess is not None:
        raise PermissionDenied(f"{excess} would reach further than those of {principal.name!r} do.")


def require_ending(principal: Principal, expires_at: datetime | None) -> None:
    """Check that credentials which *principal* makes, and which expire at *expires_at* (None: never), end no later.

    Raises:
        PermissionDenied: They would outlast it.
    """
    if principal.expires_at is not None and (expires_at is None or expires_at > principal.expires_at):
        raise PermissionDenied(
            f"These credentials would outlast {principal.name!r}, which expires at {show_moment(principal.expires_at)}."
        )


def require_unlimited(principal: Principal) -> None:
    """Check that *principal* has no limits, for what concerns everybody.

    Raises:
        PermissionDenied: It has some.
    """
    if not principal.are_none:
        raise PermissionDenied(f"This is for administrators without limits, and {principal.name!r} has some.")


def require_tenant(principal: Principal, tenant_id: str | None) -> None:
    """Check that *principal* may name *tenant_id*, if one is named.

    Raises:
        PermissionDenied: It is limited to other tenants.
    """
    if tenant_id is not None and not principal.may_name_tenant(tenant_id):
        raise PermissionDenied(f"{principal.name!r} may not name the tenant {tenant_id!r}.")


COMMAND_LINE = Principal(name="command line", permissions=frozenset({Permission.ADMIN}))
"""The principal of commands that run beside the product: access to its data includes every permission."""
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
