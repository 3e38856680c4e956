"""Users in PostgreSQL.

Triggers notify every gateway of changes; see `broker.store.administration.tokens.AccessCache`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from broker.access import Permission, Principal
from broker.audit import AuditType
from broker.store.administration.audit import change_administration
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
        names: Sequence[str] | None = None,
        tenants: Sequence[str] | None = None,
        groups: Sequence[str] = (),
        by: Principal,
    ) -> User:
        """Create a user; *password* is what `broker.users.hash_password` made of it.

        Raises:
            Conflict: The name is taken.
        """
        async with change_administration(self._database, by) as change:
            row = await change.session.fetchrow(
                _Sql.create,
                name=name,
                password=password,
                permissions=[permission.value for permission in permissions],
                names=names,
                tenants=tenants,
                groups=groups,
                created_by=by.name,
            )
            assert row is not None  # noqa: S101  (INSERT ... RETURNING returns it)
            user = _read(row)
            await change.note(AuditType.USER_CREATED, user.id, after=_snapshot(user))
        return user

    async def page(self, *, after_id: int = 0, limit: int = 100) -> list[User]:
        """Return users in ascending order of ids."""
        return [_read(row) for row in await self._database.fetch(_Sql.list, after_id=after_id, limit=limit)]

    async def get(self, user_id: int) -> User | None:
        """Return the user with that id."""
        return _optional(await self._database.fetchrow(_Sql.get, user_id=user_id))

    async def find(self, name: str) -> User | None:
        """Return the user of exactly that name."""
        return _optional(await self._database.fetchrow(_Sql.find, name=name))

    async def update(self, user_id: int, changes: Mapping[str, Any], *, by: Principal) -> User | None:
        """Change a user and return it; None if there is no such user.

        The members of *changes* are new values of password (hashed), permissions, names, tenants and groups.
        """
        async with change_administration(self._database, by) as change:
            before = _optional(await change.session.fetchrow(_Sql.get, user_id=user_id))
            row = await change.session.fetchrow(_Sql.update, user_id=user_id, changes=json.dumps(changes))
            after = _optional(row)
            if before is None or after is None:
                return None
            shown = _snapshot(after) | ({"passwordChanged": True} if "password" in changes else {})
            await change.note(AuditType.USER_UPDATED, user_id, before=_snapshot(before), after=shown)
        return after

    async def delete(self, user_id: int, *, by: Principal) -> bool:
        """Delete a user; return whether there was one."""
        async with change_administration(self._database, by) as change:
            row = await change.session.fetchrow(_Sql.delete, user_id=user_id)
            if row is None:
                return False
            await change.note(AuditType.USER_DELETED, user_id, before=_snapshot(_read(row)))
        return True


def _snapshot(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "permissions": [permission.value for permission in user.permissions],
        "names": user.names,
        "tenants": user.tenants,
        "groups": user.groups,
    }


def _read(row: Row) -> User:
    return User(
        id=row["id"],
        name=row["name"],
        password=row["password"],
        permissions=tuple(map(Permission, row["permissions"])),
        names=None if row["names"] is None else tuple(row["names"]),
        tenants=None if row["tenants"] is None else tuple(row["tenants"]),
        groups=tuple(row["groups"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
    )


def _optional(row: Row | None) -> User | None:
    return None if row is None else _read(row)
