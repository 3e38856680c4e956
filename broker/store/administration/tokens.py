"""API tokens in PostgreSQL, and whom any token belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.access import (
    ADMINISTRATOR,
    API_TOKEN,
    UNLIMITED,
    Limits,
    Permission,
    Principal,
    digest,
    make_token,
    require_ending,
)
from broker.audit import AuditType
from broker.errors import CredentialsEnded
from broker.store.administration import endpoints, users
from broker.store.administration.audit import Snapshot, change_administration
from broker.store.administration.limits import limit_columns, read_limits, show_expiry, show_limits
from broker.store.administration.pages import Page, find_page
from broker.store.administration.rotation import replace_value
from broker.store.postgres.database import Database, Row
from broker.store.postgres.rehearsal import rehearse
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="tokens.sql"):
    caller: Statement
    count_changes: Statement
    create_token: Statement
    list_tokens: Statement
    get_token: Statement
    revoke_token: Statement
    has_token_named: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Limits):
    """An API token as it is kept, with its limits: everything but its value.

    Args:
        id: Its id.
        name: A note for people, and its principal's name.
        permissions: What it may do.
        created_at: When it was created.
        created_by: The principal that created it.
        expires_at: From when on it opens nothing; None: never.
        is_expired: Whether that moment is past.
        last_used_at: When it was last used, to about a minute; None: never.
    """

    id: int
    name: str
    permissions: tuple[Permission, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    is_expired: bool
    last_used_at: datetime | None


class Caller(NamedTuple):
    """Whom a token belongs to, and for how many more seconds it is good; None: without end."""

    principal: Principal
    seconds: float | None


class AccessStore:
    """Creates, reads, rotates and revokes API tokens, audits each change, and finds the caller of any token."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def caller(self, token_digest: bytes) -> Caller | None:
        """Return whom a token with that digest belongs to; None if there is none, or it is not good any more."""
        row = await self._database.fetchrow(_Sql.caller, digest=token_digest)
        if row is None:
            return None
        principal = Principal(
            name=row["name"],
            permissions=frozenset(Permission(permission) for permission in row["permissions"]),
            **read_limits(row),
            token_id=row["token_id"],
            endpoint_id=row["endpoint_id"],
            expires_at=row["expires_at"],
        )
        return Caller(principal, row["seconds"])

    async def count_changes(self) -> int:
        """Return how often access was changed so far, in any process.

        Raises:
            StoreUnavailable: PostgreSQL did not answer.
        """
        return int(await self._database.fetchval(_Sql.count_changes))

    async def rehearse(self) -> None:
        """Return if callers, users and signal endpoints could be looked up now.

        Raises:
            StoreUnavailable: They could not.
        """
        await rehearse(
            self._database, [_Sql.caller, _Sql.count_changes, *users.NEEDED_TO_FIND, *endpoints.NEEDED_TO_FIND]
        )

    async def create_token(
        self,
        *,
        name: str,
        permissions: Sequence[Permission],
        limits: Limits = UNLIMITED,
        expires_at: datetime | None = None,
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
                expires_at=expires_at,
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

    async def rotate_token(self, token_id: int, *, overlap: timedelta, by: Principal) -> tuple[Token, str] | None:
        """Give an API token another value, which is returned here and never again.

        All its earlier values are good until *overlap* is over, at most. None if there is no such token, or it reaches
        further than *by* does.

        Raises:
            CredentialsEnded: It has expired.
            PermissionDenied: It would outlast *by*.
        """
        value = make_token(API_TOKEN)
        async with change_administration(self._database, by) as change:
            token = _within(by, await change.session.fetchrow(_Sql.get_token, token_id=token_id))
            if token is None:
                return None
            if token.is_expired:
                raise CredentialsEnded(f"The token {token_id} has expired.")
            require_ending(by, token.expires_at)
            await replace_value(change.session, "tokens", token_id, value, overlap=overlap)
            before, after = _snapshot(token), {**_snapshot(token), "overlapSeconds": overlap.total_seconds()}
            await change.note(AuditType.TOKEN_ROTATED, token_id, before=before, after=after)
        return token, value

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


def _snapshot(token: Token) -> Snapshot:
    return {
        "name": token.name,
        "permissions": [permission.value for permission in token.permissions],
        **show_limits(token),
        **show_expiry(token.expires_at),
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
        expires_at=row["expires_at"],
        is_expired=row["is_expired"],
        last_used_at=row["used_at"],
    )
