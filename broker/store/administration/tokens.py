"""API tokens in PostgreSQL, and the gateway's cache of tokens, users and signal endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast

from cachetools import LRUCache

from broker.access import ADMINISTRATOR, API_TOKEN, UNLIMITED, Limits, Permission, Principal, digest, make_token
from broker.audit import AuditType
from broker.endpoints import Endpoint
from broker.store.administration import endpoints, users
from broker.store.administration.audit import Snapshot, change_administration
from broker.store.administration.endpoints import EndpointStore
from broker.store.administration.limits import limit_columns, read_limits, show_limits
from broker.store.administration.pages import Page, find_page
from broker.store.administration.users import UserStore
from broker.store.postgres.database import Database, Row
from broker.store.postgres.rehearsal import rehearse
from broker.store.postgres.statements import Statement, Statements
from broker.users import User

_LOOKUPS_AT_ONCE = 4
"""A flood of wrong tokens leaves the other connections of the pool to throws."""

T = TypeVar("T")


class _Sql(Statements, file="tokens.sql"):
    caller: Statement
    create_token: Statement
    list_tokens: Statement
    get_token: Statement
    revoke_token: Statement
    has_token_named: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Limits):
    """An API token as it is kept, with its limits: everything but its value."""

    id: int
    name: str
    permissions: tuple[Permission, ...]
    created_at: datetime
    created_by: str


class AccessStore:
    """Creates, reads and revokes API tokens, audits each change, and finds the caller of any token."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def caller(self, token_digest: bytes) -> Principal | None:
        """Return the principal that a token with that digest belongs to; None if there is no such token."""
        row = await self._database.fetchrow(_Sql.caller, digest=token_digest)
        if row is None:
            return None
        return Principal(
            name=row["name"],
            permissions=frozenset(Permission(permission) for permission in row["permissions"]),
            **read_limits(row),
            token_id=row["token_id"],
            endpoint_id=row["endpoint_id"],
        )

    async def rehearse(self) -> None:
        """Return if callers, users and signal endpoints could be looked up now.

        Raises:
            StoreUnavailable: They could not.
        """
        await rehearse(self._database, [_Sql.caller, *users.NEEDED_TO_FIND, *endpoints.NEEDED_TO_FIND])

    async def create_token(
        self,
        *,
        name: str,
        permissions: Sequence[Permission],
        limits: Limits = UNLIMITED,
        by: Principal,
    ) -> tuple[Token, str]:
        """Create an API token; its value is returned here and never again."""
        value = make_token(API_TOKEN)
        async with change_administration(self._database, by) as change:
            row = await change.session.fetchrow(
                _Sql.create_token,
                name=name,
                digest=digest(value),
                permissions=[permission.value for permission in permissions],
                **limit_columns(limits),
                created_by=by.name,
            )
            assert row is not None  # noqa: S101  (INSERT ... RETURNING returns it)
            token = _read_token(row)
            await change.note(AuditType.TOKEN_CREATED, token.id, after=_snapshot(token))
        return token, value

    async def tokens(self, *, after_id: int = 0, limit: int = 100, by: Principal = ADMINISTRATOR) -> Page[Token]:
        """Return API tokens in ascending order of ids: those that reach no further than *by* does."""

        async def fetch(after_id: int, limit: int) -> list[Token]:
            rows = await self._database.fetch(_Sql.list_tokens, after_id=after_id, limit=limit)
            return [_read_token(row) for row in rows]

        return await find_page(fetch, by, lambda token: not by.find_excess(token), after_id=after_id, limit=limit)

    async def token(self, token_id: int, *, by: Principal = ADMINISTRATOR) -> Token | None:
        """Return the API token with that id, unless it is revoked, or reaches further than *by* does."""
        return _within(by, await self._database.fetchrow(_Sql.get_token, token_id=token_id))

    async def revoke_token(self, token_id: int, *, by: Principal) -> bool:
        """Revoke an API token; return whether there was one that reaches no further than *by* does."""
        async with change_administration(self._database, by) as change:
            token = _within(by, await change.session.fetchrow(_Sql.get_token, token_id=token_id))
            if token is None:
                return False
            await change.session.execute(_Sql.revoke_token, token_id=token_id)
            await change.note(AuditType.TOKEN_REVOKED, token_id, before=_snapshot(token))
        return True

    async def has_token_named(self, name: str) -> bool:
        """Return whether an API token of that name is valid."""
        return bool(await self._database.fetchval(_Sql.has_token_named, name=name))


class AccessCache:
    """Caches callers, users and endpoints until something about access changes in any process.

    Triggers of the tables notify of changes. Misses are cached too, so that a flood of wrong tokens does not become a
    flood of queries.
    """

    def __init__(self, database: Database, *, size: int = 10_000) -> None:
        self._store = AccessStore(database)
        self._users = UserStore(database)
        self._endpoints = EndpointStore(database)
        self._known: LRUCache[Hashable, Any] = LRUCache(size)
        self._generation = 0
        self._timeout = database.timeout.total_seconds()
        self._lookups = asyncio.Semaphore(_LOOKUPS_AT_ONCE)
        database.listen("access_changed", self._forget)

    def _forget(self, _payload: str | None) -> None:
        self._generation += 1
        self._known.clear()

    async def caller(self, token: str) -> Principal | None:
        """Return the principal that *token* belongs to; None if there is no such token."""
        key = digest(token)
        return await self._recall(key, lambda: self._store.caller(key))

    async def user(self, name: str) -> User | None:
        """Return the user of exactly that name."""
        return await self._recall(("user", name), lambda: self._users.find(name))

    async def endpoint(self, name: str) -> Endpoint | None:
        """Return the signal endpoint of that name."""
        return await self._recall(name, lambda: self._endpoints.find(name))

    async def _recall(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        if key in self._known:
            return cast("T", self._known[key])
        generation = self._generation
        async with asyncio.timeout(self._timeout), self._lookups:
            value = await ask()
        if generation == self._generation:  # else the answer may be from before the change
            self._known[key] = value
        return value


def _snapshot(token: Token) -> Snapshot:
    return {
        "name": token.name,
        "permissions": [permission.value for permission in token.permissions],
        **show_limits(token),
    }


def _within(by: Principal, row: Row | None) -> Token | None:
    token = None if row is None else _read_token(row)
    return None if token is None or by.find_excess(token) else token


def _read_token(row: Row) -> Token:
    return Token(
        id=row["id"],
        name=row["name"],
        permissions=tuple(Permission(permission) for permission in row["permissions"]),
        **read_limits(row),
        created_at=row["created_at"],
        created_by=row["created_by"],
    )
