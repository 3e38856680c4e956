"""Tokens and signal endpoints in PostgreSQL, and a cache of them, and of users, for the way in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast

from broker.access import API_TOKEN, ENDPOINT_TOKEN, Caller, Permission, Principal, digest, make_token
from broker.endpoints import Endpoint
from broker.store.database import Database, Row
from broker.store.statements import load
from broker.store.users import UserStore
from broker.users import User

_SQL = load("access")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An API token as it is kept: everything but its value."""

    id: int
    name: str
    permissions: tuple[Permission, ...]
    names: tuple[str, ...] | None
    tenants: tuple[str, ...] | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointToken:
    """A token that opens one endpoint: everything but its value."""

    id: int
    endpoint_id: int
    name: str
    created_at: datetime
    created_by: str


class AccessStore:
    """Creates, reads and removes what opens the gateway."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def caller(self, token_digest: bytes) -> Caller | None:
        """Return whom a token with that digest stands for, if anybody."""
        row = await self._database.fetchrow(_SQL.caller, token_digest)
        if row is None:
            return None
        principal = Principal(
            name=row["name"],
            permissions=frozenset(Permission(permission) for permission in row["permissions"]),
            names=_optional_tuple(row["names"]),
            tenants=_optional_tuple(row["tenants"]),
            token_id=row["token_id"],
        )
        return Caller(principal=principal, endpoint_id=row["endpoint_id"])

    async def create_token(
        self,
        *,
        name: str,
        permissions: Sequence[Permission],
        names: Sequence[str] | None = None,
        tenants: Sequence[str] | None = None,
        created_by: str,
        value: str | None = None,
    ) -> tuple[Token, str]:
        """Create an API token; its value is returned here and never again."""
        value = value or make_token(API_TOKEN)
        row = await self._database.fetchrow(
            _SQL.create_token, name, digest(value), [p.value for p in permissions], names, tenants, created_by
        )
        assert row is not None  # noqa: S101  (INSERT ... RETURNING returns it)
        return _read_token(row), value

    async def tokens(self, *, after_id: int = 0, limit: int = 100) -> list[Token]:
        """Return API tokens in ascending order of ids."""
        return [_read_token(row) for row in await self._database.fetch(_SQL.list_tokens, after_id, limit)]

    async def token(self, token_id: int) -> Token | None:
        """Return the API token with that id, unless it is revoked."""
        row = await self._database.fetchrow(_SQL.get_token, token_id)
        return None if row is None else _read_token(row)

    async def revoke_token(self, token_id: int) -> bool:
        """Revoke an API token; return whether there was one."""
        return await self._database.fetchval(_SQL.revoke_token, token_id) is not None

    async def has_token_named(self, name: str) -> bool:
        """Return whether an API token of that name is valid."""
        return bool(await self._database.fetchval(_SQL.has_token_named, name))

    async def create_endpoint(
        self, *, name: str, created_by: str, enabled: bool = True, description: str | None = None
    ) -> Endpoint:
        """Create a signal endpoint.

        Raises:
            Conflict: There is one of that name.
        """
        row = await self._database.fetchrow(_SQL.create_endpoint, name, enabled, description, created_by)
        assert row is not None  # noqa: S101  (INSERT ... RETURNING returns it)
        return _read_endpoint(row)

    async def endpoints(self) -> list[Endpoint]:
        """Return every signal endpoint in ascending order of ids."""
        return [_read_endpoint(row) for row in await self._database.fetch(_SQL.list_endpoints)]

    async def endpoint(self, endpoint_id: int) -> Endpoint | None:
        """Return the signal endpoint with that id."""
        return _optional_endpoint(await self._database.fetchrow(_SQL.get_endpoint, endpoint_id))

    async def find_endpoint(self, name: str) -> Endpoint | None:
        """Return the signal endpoint of that name."""
        return _optional_endpoint(await self._database.fetchrow(_SQL.find_endpoint, name))

    async def update_endpoint(
        self, endpoint_id: int, *, name: str, enabled: bool, description: str | None
    ) -> Endpoint | None:
        """Replace an endpoint's name, state and description; None if there is no such endpoint.

        Raises:
            Conflict: Another one has that name.
        """
        return _optional_endpoint(
            await self._database.fetchrow(_SQL.update_endpoint, endpoint_id, name, enabled, description)
        )

    async def enable_endpoint(self, endpoint_id: int, *, enabled: bool) -> Endpoint | None:
        """Switch an endpoint on or off; None if there is no such endpoint."""
        return _optional_endpoint(await self._database.fetchrow(_SQL.enable_endpoint, endpoint_id, enabled))

    async def delete_endpoint(self, endpoint_id: int) -> bool:
        """Delete an endpoint with its tokens; return whether there was one."""
        return await self._database.fetchval(_SQL.delete_endpoint, endpoint_id) is not None

    async def create_endpoint_token(self, endpoint_id: int, *, name: str, created_by: str) -> tuple[EndpointToken, str]:
        """Create a token for an endpoint; its value is returned here and never again.

        Raises:
            Conflict: The endpoint has one of that name.
        """
        value = make_token(ENDPOINT_TOKEN)
        row = await self._database.fetchrow(_SQL.create_endpoint_token, endpoint_id, name, digest(value), created_by)
        assert row is not None  # noqa: S101  (INSERT ... RETURNING returns it)
        return _read_endpoint_token(row), value

    async def endpoint_tokens(self, endpoint_ids: Sequence[int]) -> list[EndpointToken]:
        """Return the tokens of those endpoints in ascending order of ids."""
        rows = await self._database.fetch(_SQL.list_endpoint_tokens, endpoint_ids)
        return [_read_endpoint_token(row) for row in rows]

    async def rename_endpoint_token(self, endpoint_id: int, token_id: int, *, name: str) -> EndpointToken | None:
        """Rename an endpoint's token; its value stays. None if there is no such token.

        Raises:
            Conflict: The endpoint has another one of that name.
        """
        row = await self._database.fetchrow(_SQL.rename_endpoint_token, endpoint_id, token_id, name)
        return None if row is None else _read_endpoint_token(row)

    async def delete_endpoint_token(self, endpoint_id: int, token_id: int) -> bool:
        """Delete an endpoint's token; return whether there was one."""
        return await self._database.fetchval(_SQL.delete_endpoint_token, endpoint_id, token_id) is not None


class AccessCache:
    """Remembers callers, users and endpoints until anything about access changes, in any process.

    PostgreSQL tells of changes by NOTIFY, triggered by the tables themselves. Misses are remembered too, so that a
    flood of wrong tokens does not become a flood of queries.
    """

    def __init__(self, database: Database, *, size: int = 10_000) -> None:
        self._store = AccessStore(database)
        self._users = UserStore(database)
        self._known: OrderedDict[Hashable, Any] = OrderedDict()
        self._size = size
        self._generation = 0
        database.listen("access_changed", self._forget)

    def _forget(self, _payload: str | None) -> None:
        self._generation += 1
        self._known.clear()

    async def caller(self, token: str) -> Caller | None:
        """Return whom *token* stands for, if anybody."""
        key = digest(token)
        return await self._recall(key, lambda: self._store.caller(key))

    async def user(self, name: str) -> User | None:
        """Return the user of exactly that name."""
        return await self._recall(("user", name), lambda: self._users.find(name))

    async def endpoint(self, name: str) -> Endpoint | None:
        """Return the signal endpoint of that name."""
        return await self._recall(name, lambda: self._store.find_endpoint(name))

    async def _recall(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        if key in self._known:
            self._known.move_to_end(key)
            return cast("T", self._known[key])
        generation = self._generation
        value = await ask()
        if generation == self._generation:  # else the answer may be from before the change
            self._known[key] = value
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        return value


def _read_token(row: Row) -> Token:
    return Token(
        id=row["id"],
        name=row["name"],
        permissions=tuple(Permission(permission) for permission in row["permissions"]),
        names=_optional_tuple(row["names"]),
        tenants=_optional_tuple(row["tenants"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
    )


def _read_endpoint(row: Row) -> Endpoint:
    return Endpoint(
        id=row["id"],
        name=row["name"],
        enabled=row["enabled"],
        description=row["description"],
        created_at=row["created_at"],
        created_by=row["created_by"],
    )


def _optional_endpoint(row: Row | None) -> Endpoint | None:
    return None if row is None else _read_endpoint(row)


def _read_endpoint_token(row: Row) -> EndpointToken:
    return EndpointToken(
        id=row["id"],
        endpoint_id=row["endpoint_id"],
        name=row["name"],
        created_at=row["created_at"],
        created_by=row["created_by"],
    )


def _optional_tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
