"""What a gateway knows of access: callers, users and signal endpoints, kept in memory and confirmed all the time."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack
from datetime import timedelta
from logging import DEBUG, WARNING
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar, cast

import structlog
from cachetools import LRUCache

from broker.access import Principal, digest
from broker.endpoints import Endpoint
from broker.errors import StoreRefusal, StoreUnavailable
from broker.metrics import ACCESS_UNCONFIRMED
from broker.reasons import reason_of
from broker.store.administration.endpoints import EndpointStore
from broker.store.administration.tokens import AccessStore
from broker.store.administration.users import UserStore
from broker.store.administration.uses import TokenUses
from broker.store.postgres.database import Database
from broker.users import User

CONFIRMED_EVERY = timedelta(seconds=2)
FRESH = timedelta(seconds=5)
"""For how long something is used without being confirmed."""
BORNE = timedelta(minutes=10)
"""For how long what is known is used while PostgreSQL does not answer."""
_CONFIRMED_WITHIN = timedelta(seconds=2)

_LOOKUPS_AT_ONCE = 4
"""A flood of wrong tokens leaves the other connections of the pool to throws."""
_USERS_AT_ONCE = 2
"""A flood of wrong users leaves tokens their turns."""

T = TypeVar("T")

log = structlog.get_logger()


class _Known(NamedTuple):
    """What PostgreSQL answered, when it was asked, and until when that may be used."""

    value: Any
    asked_at: float
    ends_at: float


class AccessCache:
    """Caches callers, users and endpoints until something about access changes in any process.

    Triggers of the tables notify of changes, and count them. The number is asked for every two seconds in the
    background, and while it is the same, everything that is known is right: so a change is known within `FRESH`, even
    where notifications are not heard (behind a pooler), and requests do not wait for that. A token ends at its moment.

    While PostgreSQL does not answer, the callers that are known stay so for `BORNE`, and whether others exist is
    unknown. Misses are cached too, so that a flood of wrong tokens does not become a flood of queries; they are kept
    apart, so that it does not push out callers either.

    An async context manager, in which everything is confirmed, and uses of tokens are written.
    """

    def __init__(self, database: Database, *, size: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = AccessStore(database)
        self._users = UserStore(database)
        self._endpoints = EndpointStore(database)
        self._uses = TokenUses(database, clock=clock)
        self._clock = clock
        self._known: LRUCache[Hashable, _Known] = LRUCache(size)
        self._unknown: LRUCache[Hashable, _Known] = LRUCache(size)
        self._generation = 0
        self._changes: int | None = None
        self._confirmed_at = -math.inf
        self._unconfirmed_since: float | None = None
        self._confirming: asyncio.Task[None] | None = None
        self._timeout = database.timeout.total_seconds()
        self._lookups = asyncio.Semaphore(_LOOKUPS_AT_ONCE)
        self._user_lookups = asyncio.Semaphore(_USERS_AT_ONCE)
        database.listen("access_changed", lambda _: self._forget())

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._uses.written())
            confirming = asyncio.create_task(self._confirm_always(), name="access-cache")
            stack.push_async_callback(self._end, confirming)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _end(self, confirming: asyncio.Task[None]) -> None:
        tasks = [confirming] if self._confirming is None else [confirming, self._confirming]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def caller(self, token: str) -> Principal | None:
        """Return the principal that *token* belongs to; None if there is no such token, or it is not good any more.

        Raises:
            StoreUnavailable, TimeoutError: PostgreSQL does not answer, and the token is not known.
        """
        return await self.caller_of(digest(token))

    async def caller_of(self, key: bytes) -> Principal | None:
        """Return the principal of the token with that digest, as `caller` does.

        Raises:
            StoreUnavailable, TimeoutError: PostgreSQL does not answer, and the token is not known.
        """

        async def ask() -> tuple[Principal | None, float | None]:
            found = await self._store.caller(key)
            return (None, None) if found is None else (found.principal, found.seconds)

        principal = await self._recall(key, ask, self._lookups)
        if principal is not None:
            self._uses.note(principal)
        return principal

    async def user(self, name: str) -> User | None:
        """Return the user of exactly that name.

        Raises:
            StoreUnavailable, TimeoutError: PostgreSQL does not answer, and the user is not known.
        """

        async def ask() -> tuple[User | None, None]:
            return await self._users.find(name), None

        return await self._recall(("user", name), ask, self._user_lookups)

    async def endpoint(self, name: str) -> Endpoint | None:
        """Return the signal endpoint of that name.

        Raises:
            StoreUnavailable, TimeoutError: PostgreSQL does not answer, and the endpoint is not known.
        """

        async def ask() -> tuple[Endpoint | None, None]:
            return await self._endpoints.find(name), None

        return await self._recall(name, ask, self._lookups)

    async def _recall(
        self, key: Hashable, ask: Callable[[], Awaitable[tuple[T | None, float | None]]], turns: asyncio.Semaphore
    ) -> T | None:
        """Return what is known by that *key*, or what PostgreSQL answers: *ask* also returns for how many seconds."""
        known = self._get(key)
        if known is not None and not self._is_fresh(known):
            if self._unconfirmed_since is None:  # the process was frozen, or is not asking in the background
                await self._confirm()
                known = self._get(key)
            if known is not None and not self._is_fresh(known) and not self._is_borne(known):
                known = None
        if known is not None:
            return cast("T | None", known.value)
        generation, asked_at = self._generation, self._clock()
        async with asyncio.timeout(self._timeout), turns:
            value, seconds = await ask()
        if generation == self._generation:  # else the answer may be from before the change
            ends_at = math.inf if seconds is None else asked_at + seconds
            (self._unknown if value is None else self._known)[key] = _Known(value, asked_at, ends_at)
        return value

    def _get(self, key: Hashable) -> _Known | None:
        known = self._known.get(key) or self._unknown.get(key)
        return None if known is None or self._clock() >= known.ends_at else known

    def _age(self, known: _Known) -> float:
        return self._clock() - max(known.asked_at, self._confirmed_at)

    def _is_fresh(self, known: _Known) -> bool:
        return self._age(known) < FRESH.total_seconds()

    def _is_borne(self, known: _Known) -> bool:
        return (
            self._unconfirmed_since is not None and known.value is not None and self._age(known) < BORNE.total_seconds()
        )

    def _forget(self) -> None:
        self._generation += 1
        self._known.clear()
        self._unknown.clear()

    async def _confirm_always(self) -> None:
        while True:
            await self._confirm()
            await asyncio.sleep(CONFIRMED_EVERY.total_seconds() * random.uniform(0.75, 1.25))  # noqa: S311

    async def _confirm(self) -> None:
        """Confirm everything that is known, or forget it; callers that come at once share one question."""
        if self._confirming is None:
            self._confirming = asyncio.create_task(self._ask_for_changes())
            self._confirming.add_done_callback(self._end_confirming)
        await asyncio.shield(self._confirming)

    def _end_confirming(self, _: asyncio.Task[None]) -> None:
        self._confirming = None

    async def _ask_for_changes(self) -> None:
        asked_at = self._clock()
        try:
            async with asyncio.timeout(_CONFIRMED_WITHIN.total_seconds()):
                changes = await self._store.count_changes()
        except (StoreUnavailable, TimeoutError) as error:
            if self._unconfirmed_since is None:
                self._unconfirmed_since = asked_at
                awaits_schema = isinstance(error, StoreRefusal) and error.lacks_a_table
                log.log(
                    DEBUG if awaits_schema else WARNING,
                    "access.unconfirmed",
                    error=reason_of(error),
                    borne_seconds=BORNE.total_seconds(),
                )
            ACCESS_UNCONFIRMED.set(1)
            return
        if self._unconfirmed_since is not None:
            log.info("access.confirmed", seconds=round(asked_at - self._unconfirmed_since, 3))
        ACCESS_UNCONFIRMED.set(0)
        self._unconfirmed_since = None
        if changes != self._changes:
            self._changes = changes
            self._forget()
        self._confirmed_at = asked_at
