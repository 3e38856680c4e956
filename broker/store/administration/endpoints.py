"""Signal endpoints, their tokens and their signals in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import accumulate, groupby
from typing import NamedTuple

from broker.access import ADMINISTRATOR, ENDPOINT_TOKEN, Permission, Principal, digest, make_token, require_ending
from broker.audit import AuditType
from broker.endpoints import Endpoint, EndpointSignal, EndpointToken, endpoint_names
from broker.errors import CredentialsEnded, LimitReached
from broker.store.administration.audit import Change, Snapshot, change_administration
from broker.store.administration.limits import show_expiry
from broker.store.administration.rotation import replace_value
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements

_READ_BYTES = 2 << 20
"""Bytes of payloads that are read at a time."""


class _Sql(Statements, file="endpoints.sql"):
    count: Statement
    create: Statement
    list: Statement
    get: Statement
    find: Statement
    update: Statement
    delete: Statement
    count_tokens: Statement
    create_token: Statement
    list_tokens: Statement
    get_token: Statement
    rename_token: Statement
    delete_token: Statement
    total: Statement
    total_readable: Statement
    list_signals: Statement
    list_signals_of: Statement
    read_signals: Statement


NEEDED_TO_FIND = (_Sql.find,)
"""What a gateway carries out for a caller that it does not know yet."""


class ListedSignal(NamedTuple):
    """A signal of a list, without its payload.

    Args:
        id: Its id.
        size: How many bytes its payload has.
    """

    id: int
    size: int


class EndpointStore:
    """Creates, reads, changes and deletes signal endpoints and their tokens; each change is audited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, *, name: str, enabled: bool = True, description: str | None = None, by: Principal, most: int
    ) -> Endpoint:
        """Create a signal endpoint, which reaches as far as *by* does. Afterwards there are at most *most* like it.

        Raises:
            LimitReached: There are that many already.
            Conflict: The name is taken.
        """
        async with change_administration(self._database, by) as change:
            if await change.session.fetchval(_Sql.count, tenants=by.tenants) >= most:
                raise LimitReached("signal endpoint", most)
            row = await change.session.fetchrow(
                _Sql.create,
                name=name,
                enabled=enabled,
                description=description,
                created_by=by.name,
                created_by_user_id=by.user_id,
                tenants=by.tenants,
            )
            assert row is not None  # noqa: S101  (INSERT ... RETURNING returns it)
            endpoint = _read(row)
            await change.note(AuditType.ENDPOINT_CREATED, endpoint.id, after=_snapshot(endpoint))
        return endpoint

    async def all(self, *, by: Principal = ADMINISTRATOR) -> list[Endpoint]:
        """Return every signal endpoint that *by* may manage, in ascending order of ids."""
        endpoints = [_read(row) for row in await self._database.fetch(_Sql.list)]
        return [endpoint for endpoint in endpoints if may_manage(by, endpoint)]

    async def get(self, endpoint_id: int) -> Endpoint | None:
        """Return the signal endpoint with that id."""
        return _optional(await self._database.fetchrow(_Sql.get, endpoint_id=endpoint_id))

    async def find(self, name: str) -> Endpoint | None:
        """Return the signal endpoint of that name."""
        return _optional(await self._database.fetchrow(_Sql.find, name=name))

    async def update(
        self, endpoint_id: int, *, name: str, enabled: bool, description: str | None, by: Principal
    ) -> Endpoint | None:
        """Replace an endpoint's name, state and description; None if there is none that *by* may manage.

        Raises:
            Conflict: Another endpoint has that name.
        """
        async with change_administration(self._database, by) as change:
            before = await _managed(change, endpoint_id)
            return None if before is None else await _update(change, before, name, description, enabled=enabled)

    async def enable(self, endpoint_id: int, *, enabled: bool, by: Principal) -> Endpoint | None:
        """Switch an endpoint on or off; None if there is none that *by* may manage."""
        async with change_administration(self._database, by) as change:
            before = await _managed(change, endpoint_id)
            if before is None:
                return None
            return await _update(change, before, before.name, before.description, enabled=enabled)

    async def delete(self, endpoint_id: int, *, by: Principal) -> bool:
        """Delete an endpoint with its tokens; return whether there was one that *by* may manage. Its signals stay."""
        async with change_administration(self._database, by) as change:
            endpoint = await _managed(change, endpoint_id)
            if endpoint is None:
                return False
            rows = await change.session.fetch(_Sql.list_tokens, endpoint_ids=[endpoint_id])
            await change.session.execute(_Sql.delete, endpoint_id=endpoint_id)
            for token in map(_read_token, rows):
                await change.note(AuditType.ENDPOINT_TOKEN_DELETED, token.id, before=_token_snapshot(token))
            await change.note(AuditType.ENDPOINT_DELETED, endpoint_id, before=_snapshot(endpoint))
        return True

    async def create_token(
        self, endpoint_id: int, *, name: str, expires_at: datetime | None = None, by: Principal, most: int
    ) -> tuple[EndpointToken, str] | None:
        """Create a token for an endpoint, which has at most *most* afterwards; None if *by* manages no such endpoint.

        The token's value is returned here and never again.

        Raises:
            LimitReached: The endpoint has that many already.
            Conflict: The endpoint has a token of that name.
            PermissionDenied: It would outlast *by*.
        """
        require_ending(by, expires_at)
        value = make_token(ENDPOINT_TOKEN)
        async with change_administration(self._database, by) as change:
            if await _managed(change, endpoint_id) is None:
                return None
            if await change.session.fetchval(_Sql.count_tokens, endpoint_id=endpoint_id) >= most:
                raise LimitReached("signal endpoint token", most)
            row = await change.session.fetchrow(
                _Sql.create_token,
                endpoint_id=endpoint_id,
                name=name,
                digest=digest(value),
                expires_at=expires_at,
                created_by=by.name,
                created_by_user_id=by.user_id,
            )
            assert row is not None  # noqa: S101  (INSERT ... RETURNING returns it)
            token = _read_token(row)
            await change.note(AuditType.ENDPOINT_TOKEN_CREATED, token.id, after=_token_snapshot(token))
        return token, value

    async def tokens(self, endpoint_ids: Sequence[int]) -> list[EndpointToken]:
        """Return the tokens of those endpoints in ascending order of ids."""
        rows = await self._database.fetch(_Sql.list_tokens, endpoint_ids=endpoint_ids)
        return [_read_token(row) for row in rows]

    async def rename_token(self, endpoint_id: int, token_id: int, *, name: str, by: Principal) -> EndpointToken | None:
        """Rename an endpoint's token; its value stays. None if there is no such token that *by* may manage.

        Raises:
            Conflict: The endpoint has another token of that name.
        """
        async with change_administration(self._database, by) as change:
            before = await change.session.fetchrow(_Sql.get_token, endpoint_id=endpoint_id, token_id=token_id)
            if before is None or await _managed(change, endpoint_id) is None:
                return None
            await change.session.execute(_Sql.rename_token, token_id=token_id, name=name)
            token = replace(_read_token(before), name=name)
            await change.note(
                AuditType.ENDPOINT_TOKEN_UPDATED,
                token_id,
                before=_token_snapshot(_read_token(before)),
                after=_token_snapshot(token),
            )
        return token

    async def rotate_token(
        self, endpoint_id: int, token_id: int, *, overlap: timedelta, by: Principal
    ) -> tuple[EndpointToken, str] | None:
        """Give an endpoint's token another value, as `AccessStore.rotate_token` does.

        None if there is no such token that *by* may manage.

        Raises:
            CredentialsEnded: It has expired.
            PermissionDenied: It would outlast *by*.
        """
        value = make_token(ENDPOINT_TOKEN)
        async with change_administration(self._database, by) as change:
            row = await change.session.fetchrow(_Sql.get_token, endpoint_id=endpoint_id, token_id=token_id)
            if row is None or await _managed(change, endpoint_id) is None:
                return None
            if row["is_expired"]:
                raise CredentialsEnded(f"The token {token_id} has expired.")
            token = _read_token(row)
            require_ending(by, token.expires_at)
            await replace_value(change.session, "endpoint_tokens", token_id, value, overlap=overlap)
            before, after = (
                _token_snapshot(token),
                {**_token_snapshot(token), "overlapSeconds": overlap.total_seconds()},
            )
            await change.note(AuditType.ENDPOINT_TOKEN_ROTATED, token_id, before=before, after=after)
        return token, value

    async def delete_token(self, endpoint_id: int, token_id: int, *, by: Principal) -> bool:
        """Delete an endpoint's token; return whether there was one that *by* may manage."""
        async with change_administration(self._database, by) as change:
            row = await change.session.fetchrow(_Sql.get_token, endpoint_id=endpoint_id, token_id=token_id)
            if row is None or await _managed(change, endpoint_id) is None:
                return False
            await change.session.execute(_Sql.delete_token, token_id=token_id)
            await change.note(AuditType.ENDPOINT_TOKEN_DELETED, token_id, before=_token_snapshot(_read_token(row)))
        return True

    async def signals_of(
        self, endpoint_id: int, *, limit: int, offset: int = 0, by: Principal = ADMINISTRATOR
    ) -> list[ListedSignal]:
        """Return the signals of an endpoint that *by* may read, newest first."""
        rows = await self._database.fetch(
            _Sql.list_signals_of, endpoint_id=endpoint_id, limit=limit, offset=offset, **_sight(by)
        )
        return [ListedSignal(**row) for row in rows]

    async def signals(
        self,
        *,
        limit: int,
        offset: int = 0,
        first_day: date | None = None,
        last_day: date | None = None,
        by: Principal = ADMINISTRATOR,
    ) -> tuple[list[ListedSignal], int]:
        """Return a page of the endpoints' signals of those days (UTC), newest first, and how many there are in all.

        Only those that *by* may read. For a principal that is limited to tenants they have to be counted one by one.
        """
        sight, days = _sight(by), {"first_day": first_day, "last_day": last_day}
        if by.tenants is None:
            found = await self._database.fetchrow(_Sql.total, names=sight["names"], **days)
        else:
            found = await self._database.fetchrow(_Sql.total_readable, **sight, **days)
        assert found is not None  # noqa: S101  (a sum is always there)
        if offset >= found["total"]:
            return [], found["total"]
        rows = await self._database.fetch(
            _Sql.list_signals,
            first_id=found["first_id"],
            last_id=found["last_id"],
            limit=limit,
            offset=offset,
            **sight,
            **days,
        )
        return [ListedSignal(**row) for row in rows], found["total"]

    async def read_signals(self, page: Sequence[ListedSignal]) -> AsyncIterator[list[EndpointSignal]]:
        """Yield the signals of *page* as far as they still exist, some megabytes at a time."""
        sizes = accumulate(listed.size for listed in page)
        for _, chunk in groupby(zip(page, sizes, strict=True), key=lambda pair: pair[1] // _READ_BYTES):
            rows = await self._database.fetch(_Sql.read_signals, signal_ids=[listed.id for listed, _ in chunk])
            if rows:
                yield [_read_signal(row) for row in rows]


def may_manage(principal: Principal, endpoint: Endpoint) -> bool:
    """Return whether *principal* may manage *endpoint*: it has its name, and reaches as far."""
    return principal.may(Permission.ENDPOINTS, endpoint.name) and principal.reach.owns(endpoint.tenants)


async def _managed(change: Change, endpoint_id: int) -> Endpoint | None:
    """Return the endpoint, if there is one that the author of *change* may manage."""
    endpoint = _optional(await change.session.fetchrow(_Sql.get, endpoint_id=endpoint_id))
    return endpoint if endpoint is not None and may_manage(change.by, endpoint) else None


async def _update(
    change: Change, before: Endpoint, name: str, description: str | None, *, enabled: bool
) -> Endpoint | None:
    row = await change.session.fetchrow(
        _Sql.update, endpoint_id=before.id, name=name, enabled=enabled, description=description
    )
    after = _optional(row)
    if after is not None:
        await change.note(AuditType.ENDPOINT_UPDATED, after.id, before=_snapshot(before), after=_snapshot(after))
    return after


def _sight(by: Principal) -> dict[str, object]:
    return {"names": endpoint_names(by.names), "tenants": by.tenants, "untenanted": by.untenanted}


def _snapshot(endpoint: Endpoint) -> Snapshot:
    return {"name": endpoint.name, "enabled": endpoint.enabled, "description": endpoint.description}


def _token_snapshot(token: EndpointToken) -> Snapshot:
    return {"name": token.name, "signalEndpointId": token.endpoint_id, **show_expiry(token.expires_at)}


def _read(row: Row) -> Endpoint:
    return Endpoint(
        id=row["id"],
        name=row["name"],
        enabled=row["enabled"],
        description=row["description"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        created_by_user_id=row["created_by_user_id"],
        tenants=None if row["tenants"] is None else tuple(row["tenants"]),
    )


def _optional(row: Row | None) -> Endpoint | None:
    return None if row is None else _read(row)


def _read_token(row: Row) -> EndpointToken:
    return EndpointToken(
        id=row["id"],
        endpoint_id=row["endpoint_id"],
        name=row["name"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        created_by_user_id=row["created_by_user_id"],
        expires_at=row["expires_at"],
        last_used_at=row["used_at"],
    )


def _read_signal(row: Row) -> EndpointSignal:
    return EndpointSignal(
        id=row["id"],
        created_at=row["created_at"],
        endpoint_id=row["source_id"],
        payload=row["payload"].encode(),
        token_name=row["token_name"],
        endpoint_name=row["endpoint_name"],
        endpoint_description=row["endpoint_description"],
    )
