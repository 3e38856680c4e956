"""Signing in with a name and a password: most requests are answered without the cost of argon2."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from cachetools import TTLCache

from broker.errors import InvalidField
from broker.store.administration.access_cache import AccessCache
from broker.users import Lockout, User, check_user_name, hash_password, is_password, make_decoy
from gateway.guesses import FailureBudgets, Trust, Turns
from gateway.http_errors import Busy, TooMany

MOST_WAITING = 100
"""Passwords that wait to be checked, for trusted names and for others."""
MOST_UNDER_WAY = 1000
"""Attempts with passwords that are not remembered: most of them wait until the name is looked up."""
MOST_OF_NAME = 5
"""Different passwords for a name that wait to be checked: more are guesses, and refused as while it is locked."""
REMEMBERED = 10_000
"""Most passwords that are remembered at a time."""
REMEMBERED_SECONDS = 300.0
"""For how long since its last use."""

log = structlog.get_logger()


class Passwords:
    """Hashes passwords, and checks them in threads: one at a time for trusted names, and one at a time for others.

    A password that was right is remembered for a while, as a keyed digest that also covers its stored hash and the
    address where it was used: when a user is changed or deleted, the cache of users forgets it, and the remembered
    digest matches nothing any more. A user with that password is let in from there, whatever other callers try.

    An address may fail only so often, and is refused early then. After a failure the name is locked for a while, for
    right passwords too. A name that signed in from an address before is *trusted* there: it needs nothing of the
    address's budget, is locked only by failures from there, and waits behind trusted names only. Others wait behind
    addresses with fewer failures lately. So neither a flood of names from some addresses nor guesses from many keep its
    user out. Refusals cost no argon2, and are the same for names that do not exist.
    """

    def __init__(self, cache: AccessCache, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._budgets = FailureBudgets(clock=clock)
        self._trust = Trust(clock=clock)
        self._lockout = Lockout(clock=clock)
        self._turns = {trusted: Turns(most=MOST_WAITING) for trusted in (True, False)}
        self._under_way: dict[bool, dict[bytes, asyncio.Task[User | None]]] = {True: {}, False: {}}
        self._guesses: Counter[str] = Counter()
        self._right: TTLCache[bytes, None] = TTLCache(REMEMBERED, REMEMBERED_SECONDS, timer=clock)
        self._key = secrets.token_bytes(32)
        self._decoy = make_decoy()

    async def hash(self, password: str) -> str:
        """Return the hash of *password* that is stored."""
        async with self._turn(rank=0, trusted=True):
            return await asyncio.to_thread(hash_password, password)

    async def sign_in(self, name: str, password: str, address: str) -> User | None:
        """Return the user *name*, who calls from *address*.

        None if there is no such user, the password is another, or the name is locked. Requests that ask the same at
        once share one answer.

        Raises:
            TooMany: Too many attempts from *address* failed.
            Busy: Too many passwords wait to be checked.
            StoreUnavailable, TimeoutError: PostgreSQL does not answer, and the user is not known.
        """
        try:
            check_user_name(name)
        except InvalidField:
            return None
        trusted = self._trust.includes(name, address)
        if trusted and (known := await self._cache.user(name)) is not None:
            digest = self._digest(name, password, known.password, address)
            if digest in self._right:
                self._right[digest] = None
                return known
        attempt = self._attempt(name, password, address, trusted=trusted)
        user = None if attempt is None else await asyncio.shield(attempt)
        if user is None and trusted:
            self._trust.count_guess(name, address)
            self._take(address)
        return user

    def count_failure(self, address: str) -> None:
        """Count a failed attempt to sign in from *address* with something else than a password.

        Raises:
            TooMany: Too many attempts from there have failed.
        """
        self._take(address)

    def _take(self, address: str) -> None:
        wait = self._budgets.take(address)
        if wait:
            raise TooMany("Too many attempts to sign in have failed; try again later.", retry_after=wait)

    def _digest(self, *parts: str) -> bytes:
        return hashlib.blake2b("\0".join(parts).encode(), key=self._key, digest_size=32).digest()

    def _attempt(self, name: str, password: str, address: str, *, trusted: bool) -> asyncio.Task[User | None] | None:
        """Return the check of a password that is not remembered; None if the name is locked, or many are under way."""
        digest, under_way = self._digest(name, password, address), self._under_way[trusted]
        attempt = under_way.get(digest)
        if attempt is not None:
            return attempt
        if not trusted:
            self._take(address)
        lock = f"{name}\0{address}" if trusted else name
        if self._lockout.is_locked(lock) or self._guesses[lock] >= MOST_OF_NAME:
            return None
        if len(under_way) >= MOST_UNDER_WAY:
            raise _busy()
        attempt = asyncio.create_task(self._judge(name, password, address, lock, trusted=trusted))
        under_way[digest] = attempt
        self._guesses[lock] += 1

        def end(task: asyncio.Task[User | None]) -> None:
            del under_way[digest]
            self._guesses[lock] -= 1
            if not self._guesses[lock]:
                del self._guesses[lock]
            if not task.cancelled():
                task.exception()  # it may have no one left to raise to

        attempt.add_done_callback(end)
        return attempt

    async def _judge(self, name: str, password: str, address: str, lock: str, *, trusted: bool) -> User | None:
        user = await self._cache.user(name)
        kept = self._decoy if user is None else user.password
        rank = 0 if trusted else self._budgets.failures(address)
        async with self._turn(rank=rank, trusted=trusted):
            if self._lockout.is_locked(lock):  # by an attempt that waited before this one
                return None
            is_right = await asyncio.to_thread(is_password, password, kept)
        if user is None or not is_right:
            pause = self._lockout.fail(lock)
            known = None if user is None else name
            log.warning("user.locked", seconds=pause.total_seconds(), user=known, address=address)
            return None
        self._lockout.forgive(lock)
        if not trusted:
            self._budgets.give_back(address)
            self._trust.add(name, address)
        self._right[self._digest(name, password, kept, address)] = None
        return user

    @asynccontextmanager
    async def _turn(self, *, rank: int, trusted: bool) -> AsyncIterator[None]:
        async with self._turns[trusted].turn(rank) as has_turn:
            if not has_turn:
                raise _busy()
            yield


def _busy() -> Busy:
    return Busy("Too many passwords wait to be checked; try again in a moment.")
