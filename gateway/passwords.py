"""Signing in with a name and a password: most requests are answered without the cost of argon2."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable

import structlog
from cachetools import TTLCache

from broker.access import Principal
from broker.errors import InvalidField
from broker.store.administration.access_cache import AccessCache
from broker.users import Lockout, check_user_name, hash_password, is_password, make_decoy
from gateway.http_errors import Busy

AT_ONCE = 2
"""Each check takes 19 MiB and a core; the event loop and the other requests need the rest."""
MOST_WAITING = 100
REMEMBERED = 10_000
"""Most passwords that are remembered at a time."""
REMEMBERED_SECONDS = 60.0

log = structlog.get_logger()


class Passwords:
    """Hashes passwords, and checks them: two at a time, in threads.

    A password that was right is remembered for a minute, as a keyed digest that also covers its stored hash: when a
    user is changed or deleted, the cache of users forgets it, and the remembered digest matches nothing any more.

    After a failure the name is locked for a while, for right passwords too: otherwise an attacker could go on guessing
    against the remembered passwords. Locked names and remembered passwords cost no argon2.
    """

    def __init__(self, cache: AccessCache, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._lockout = Lockout(clock=clock)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._checks: dict[bytes, asyncio.Task[bool]] = {}
        self._right: TTLCache[bytes, None] = TTLCache(REMEMBERED, REMEMBERED_SECONDS, timer=clock)
        self._key = secrets.token_bytes(32)
        self._decoy = make_decoy()

    async def hash(self, password: str) -> str:
        """Return the hash of *password* that is stored."""
        async with self._slots:
            return await asyncio.to_thread(hash_password, password)

    async def sign_in(self, name: str, password: str) -> Principal | None:
        """Return the principal of the user *name*; None if there is none, its password is another, or it is locked.

        Raises:
            Busy: Too many passwords wait to be checked.
        """
        try:
            check_user_name(name)
        except InvalidField:
            return None
        if self._lockout.is_locked(name):
            return None
        user = await self._cache.user(name)
        kept = self._decoy if user is None else user.password
        digest = self._digest(name, password, kept)
        if digest not in self._right and not await self._check(digest, name, password, kept):
            return None
        self._lockout.forgive(name)
        return None if user is None else user.principal

    def _digest(self, *parts: str) -> bytes:
        return hashlib.blake2b("\0".join(parts).encode(), key=self._key, digest_size=32).digest()

    async def _check(self, digest: bytes, name: str, password: str, kept: str) -> bool:
        """Return whether the password is right; requests that ask the same at once share one answer."""
        check = self._checks.get(digest)
        if check is None:
            if len(self._checks) >= MOST_WAITING:
                raise Busy("Too many passwords wait to be checked; try again in a moment.")
            check = asyncio.create_task(self._verify(digest, name, password, kept))
            check.add_done_callback(lambda _: self._checks.pop(digest))
            self._checks[digest] = check
        return await asyncio.shield(check)

    async def _verify(self, digest: bytes, name: str, password: str, kept: str) -> bool:
        async with self._slots:
            if self._lockout.is_locked(name):  # by an attempt that waited before this one
                return False
            if not await asyncio.to_thread(is_password, password, kept):
                pause = self._lockout.fail(name)
                log.warning("user.locked", seconds=pause.total_seconds(), user=None if kept == self._decoy else name)
                return False
        self._right[digest] = None
        return True
