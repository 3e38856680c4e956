"""Users, who sign in with a name and a password, and how passwords are stored and protected."""

from __future__ import annotations

import secrets
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from cachetools import FIFOCache

from broker.access import Limits, Permission, Principal
from broker.errors import InvalidField
from broker.names import check_id, check_text

ADMIN_GROUP = "camunda-admin"
"""Limits to tenants do not apply to its members, as in Camunda; they need permissions like other users."""

SHORTEST, LONGEST = 8, 1024

# OWASP's first choice for argon2id: each check, and each guess of an attacker, costs 19 MiB and 25 ms of one core.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Limits):
    """A user as it is stored, with its limits.

    Args:
        id: Its id.
        name: What it signs in with.
        password: The hash of its password; see `hash_password`.
        permissions: What it may do.
        groups: The groups it is in; only `ADMIN_GROUP` has a meaning here.
        created_at: When it was created.
        created_by: The principal that created it.
    """

    id: int
    name: str
    password: str = field(repr=False)
    permissions: tuple[Permission, ...]
    groups: tuple[str, ...]
    created_at: datetime
    created_by: str

    @property
    def principal(self) -> Principal:
        """The principal that the user is once signed in."""
        return Principal(
            name=self.name,
            permissions=frozenset(self.permissions),
            names=self.names,
            tenants=None if ADMIN_GROUP in self.groups else self.tenants,
            queues=self.queues,
            untenanted=self.untenanted,
            user_id=self.id,
        )


def check_user_name(name: str) -> str:
    """Return *name* if a user can have it.

    Raises:
        InvalidField: It is empty or longer than 255 characters, or contains control characters or a colon (which
            separates the password in HTTP Basic).
    """
    if not name:
        raise InvalidField("/name", "must not be empty")
    if ":" in name:
        raise InvalidField("/name", "must not contain a colon, which ends the name in HTTP Basic")
    return check_id(name, "/name")


def check_password(password: str) -> str:
    """Return *password* if it can be one.

    Raises:
        InvalidField: It is shorter than 8 or longer than 1024 characters, or contains control characters, which HTTP
            Basic does not allow.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidField("/password", f"must have {SHORTEST} to {LONGEST} characters")
    check_text(password, "/password")
    return password


def hash_password(password: str) -> str:
    """Return the argon2id hash of *password*, with a salt of its own. It takes about 25 ms and 19 MiB."""
    return _HASHER.hash(password)


def is_password(password: str, kept: str) -> bool:
    """Return whether *kept* is the hash of *password*; it takes the same time either way."""
    try:
        return _HASHER.verify(kept, password)
    except VerifyMismatchError:
        return False


def make_decoy() -> str:
    """Return a hash that no password has, for names without a user: checking against it takes as long as for a user."""
    salt, nothing = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    cost = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${nothing}"


class Lockout:
    """Locks a name after each failed sign-in: for 3 s, then twice as long each time, at most 60 s; a success resets it.

    Names are locked whether or not a user has them, so that the answers do not tell which users exist. The state is in
    this process, for the *size* names that failed last: evicting a name by failing with others takes longer than the
    longest lock.
    """

    SHORTEST = timedelta(seconds=3)
    LONGEST = timedelta(seconds=60)

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, size: int = 20_000) -> None:
        self._clock = clock
        self._failures: FIFOCache[str, tuple[timedelta, float]] = FIFOCache(size)

    def is_locked(self, name: str) -> bool:
        """Return whether sign-ins of *name* are refused now, whatever the password."""
        return name in self._failures and self._clock() < self._failures[name][1]

    def fail(self, name: str) -> timedelta:
        """Lock *name* and return for how long."""
        before = self._failures.get(name)
        pause = self.SHORTEST if before is None else min(before[0] * 2, self.LONGEST)
        self._failures[name] = (pause, self._clock() + pause.total_seconds())
        return pause

    def forgive(self, name: str) -> None:
        """Forget the failures of *name*."""
        self._failures.pop(name, None)
