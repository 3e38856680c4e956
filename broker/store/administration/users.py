"""Users in PostgreSQL.

Triggers notify every gateway of changes; see `broker.store.administration.access_cache.AccessCache`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from broker.access import ADMINISTRATOR, UNLIMITED, Limits, Permission, Principal, require_ending, require_within
from broker.audit import AuditType
from broker.store.administration.audit import change_administration
from broker.store.administration.limits import limit_columns, read_limits, show_limits
from broker.store.administration.pages import Page, find_page
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements
from broker.users import User


class _Sql(Statements, file="users.sql"):
    create: Statement
    list: Statement
    get: Statement
    find: Statement
    update: Statement
    delete: Statement


NEEDED_TO_FIND = (_Sql.find,)
"""What a gateway carries out for a caller that it does not know yet."""


class UserStore:
    """Creates, reads, changes and deletes users; each change is audited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        *,
        name: str,
        password: str,
        permissions: Sequence[Permission] = (),
        limits: Limits = UNLIMITED,
        groups: Sequence[str] = (),
        by: Principal,
    ) -> User:
        """Create a user; *password* is what `broker.users.hash_password` made of it.

        Raises:
            Conflict: The name is taken.
            PermissionDenied: It would reach further than *by* does, or outlast it.
        """
        require_ending(by, None)
        async with change_administration(self._database, by) as change:
            row = await change.session.fetchrow(
                _Sql.create,
                name=name,
                password=password,
                permissions=[permission.value for permission in permissions],
                **limit_columns(limits),
                groups=groups,
                created_by=by.name,
            )
            assert row is not None  # noqa: S101  (INSERT ... RETURNING returns it)
            user = _read(row)
            require_within(by, user.principal)
            await change.note(AuditType.USER_CREATED, user.id, after=_snapshot(user))
        return user

    async def page(self, *, after_id: int = 0, limit: int = 100, by: Principal = ADMINISTRATOR) -> Page[User]:
        """Return users in ascending order of ids: those that reach no further than *by* does."""

        async def fetch(after_id: int, limit: int) -> list[User]:
            return [_read(row) for row in await self._database.fetch(_Sql.list, after_id=after_id, limit=limit)]

        def is_seen(user: User) -> bool:
            return not by.find_excess(user.principal)

        return await find_page(fetch, by, is_seen, after_id=after_id, limit=limit)

    async def get(self, user_id: int, *, by: Principal = ADMINISTRATOR) -> User | None:
        """Return the user with that id, unless it reaches further than *by* does."""
        return _within(by, await self._database.fetchrow(_Sql.get, user_id=user_id))

    async def find(self, name: str) -> User | None:
        """Return the user of exactly that name."""
        return _optional(await self._database.fetchrow(_Sql.find, name=name))

    async def update(self, user_id: int, changes: Mapping[str, Any], *, by: Principal) -> User | None:
        """Change a user and return it; None if there is no such user, or it reaches further than *by* does.

        The members of *changes* are new values of password (hashed), permissions, groups and the limits.

        Raises:
            PermissionDenied: It would reach further than *by* does, or its new password or rights outlast *by*.
        """
        async with change_administration(self._database, by) as change:
            before = _within(by, await change.session.fetchrow(_Sql.get, user_id=user_id))
            if before is None:
                return None
            row = await change.session.fetchrow(_Sql.update, user_id=user_id, changes=json.dumps(changes))
            assert row is not None  # noqa: S101  (no other transaction changes the administration meanwhile)
            after = _read(row)
            require_within(by, after.principal)
            if "password" in changes or not _lose_rights(before, after):
                require_ending(by, None)
            shown = _snapshot(after) | ({"passwordChanged": True} if "password" in changes else {})
            await change.note(AuditType.USER_UPDATED, user_id, before=_snapshot(before), after=shown)
        return after

    async def delete(self, user_id: int, *, by: Principal) -> bool:
        """Delete a user; return whether there was one that reaches no further than *by* does."""
        async with change_administration(self._database, by) as change:
            user = _within(by, await change.session.fetchrow(_Sql.get, user_id=user_id))
            if user is None:
                return False
            await change.session.execute(_Sql.delete, user_id=user_id)
            await change.note(AuditType.USER_DELETED, user_id, before=_snapshot(user))
        return True


def _lose_rights(before: User, after: User) -> bool:
    """Return whether a change gave a user nothing: no permission, and no other limits or groups."""
    former, now = before.principal, after.principal
    limits = [(one.names, one.tenants, one.queues, one.untenanted) for one in (former, now)]
    return now.permissions <= former.permissions and limits[0] == limits[1] and before.groups == after.groups


def _snapshot(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "permissions": [permission.value for permission in user.permissions],
        **show_limits(user),
        "groups": user.groups,
    }


def _read(row: Row) -> User:
    return User(
        id=row["id"],
        name=row["name"],
        password=row["password"],
        permissions=tuple(map(Permission, row["permissions"])),
        **read_limits(row),
        groups=tuple(row["groups"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
    )


def _optional(row: Row | None) -> User | None:
    return None if row is None else _read(row)


def _within(by: Principal, row: Row | None) -> User | None:
    user = _optional(row)
    return None if user is None or by.find_excess(user.principal) else user
