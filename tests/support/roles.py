"""A role of PostgreSQL with a password, and the ways in which administrators lock it out."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from yarl import URL

from broker.store.postgres.database import Database

PASSWORD = "right"
_HBA = "SELECT replace(pg_read_file(current_setting('hba_file')), E'\\t', ' ')"


@dataclass(frozen=True)
class Role:
    """A role that may do what the owner of a database may, and is no superuser.

    Args:
        name: Its name.
        server: The server, as a superuser, on another database.
        database_url: The URL of the database, with another role.
    """

    name: str
    server: Database
    database_url: str

    @property
    def database(self) -> str:
        """The name of its database."""
        return URL(self.database_url).path.removeprefix("/")

    def url(self, password: str = PASSWORD) -> str:
        """Return the URL of its database for it."""
        return re.sub(r"://[^@/]*@", f"://{self.name}:{password}@", self.database_url)

    async def disconnect(self) -> None:
        """Cut every connection to its database: it must log in again."""
        await self.server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", self.database
        )


@asynccontextmanager
async def role_of(database_url: str, server_url: str) -> AsyncIterator[Role]:
    """Yield a new role for the database at *database_url*; *server_url* is that of a superuser on another one."""
    async with Database(server_url, size=2) as server:
        role = Role(f"app_{uuid.uuid4().hex[:12]}", server, database_url)
        owner = await server.fetchval("SELECT quote_ident(current_user)")
        await server.execute(f"CREATE ROLE {role.name} LOGIN PASSWORD '{PASSWORD}' IN ROLE {owner}")
        try:
            async with _lines(
                server, f"local all {role.name} scram-sha-256", f"host all {role.name} all scram-sha-256"
            ):
                yield role
        finally:
            await role.disconnect()
            async with Database(database_url, size=1) as database:
                await database.execute(f"DROP OWNED BY {role.name}")
            await server.execute(f"DROP ROLE {role.name}")


Lockout = Callable[[Role], AbstractAsyncContextManager[None]]


def altered(what: str, back: str) -> Lockout:
    """Return the lockout that executes *what*, and at the end *back*; ``{role}`` and ``{database}`` are filled in."""

    @asynccontextmanager
    async def lockout(role: Role) -> AsyncIterator[None]:
        names = {"role": role.name, "database": role.database}
        await role.server.execute(what.format(**names))
        try:
            await role.disconnect()
            yield
        finally:
            await role.server.execute(back.format(**names))

    return lockout


@asynccontextmanager
async def renamed(role: Role) -> AsyncIterator[None]:
    """Let the database have another name. It must not be in use when it is renamed, so it is closed first."""
    away = f"{role.database}_away"
    async with altered("ALTER DATABASE {database} ALLOW_CONNECTIONS false", "SELECT")(role):
        await role.server.execute(f"ALTER DATABASE {role.database} RENAME TO {away}")
    try:
        yield
    finally:
        await role.server.execute(f"ALTER DATABASE {away} RENAME TO {role.database}")
        await role.server.execute(f"ALTER DATABASE {role.database} ALLOW_CONNECTIONS true")


@asynccontextmanager
async def rejected(role: Role) -> AsyncIterator[None]:
    """Let pg_hba.conf reject the role."""
    async with _lines(role.server, f"local all {role.name} reject", f"host all {role.name} all reject"):
        await role.disconnect()
        yield


LOCKOUTS: dict[str, Lockout] = {
    "28P01 another password": altered(
        "ALTER ROLE {role} PASSWORD 'another'", f"ALTER ROLE {{role}} PASSWORD '{PASSWORD}'"
    ),
    "28000 no login": altered("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN"),
    "28000 rejected": rejected,
    "53300 no connections": altered("ALTER ROLE {role} CONNECTION LIMIT 0", "ALTER ROLE {role} CONNECTION LIMIT -1"),
    "3D000 renamed": renamed,
    "55000 closed": altered(
        "ALTER DATABASE {database} ALLOW_CONNECTIONS false", "ALTER DATABASE {database} ALLOW_CONNECTIONS true"
    ),
    "25006 read-only": altered(
        "ALTER ROLE {role} SET default_transaction_read_only = on",
        "ALTER ROLE {role} RESET default_transaction_read_only",
    ),
}
"""Lockouts by the SQLSTATE that they lead to, at the latest with the first write."""


@asynccontextmanager
async def _lines(server: Database, *lines: str) -> AsyncIterator[None]:
    """Have *lines* at the top of pg_hba.conf."""
    before = str(await server.fetchval(_HBA)).rstrip("\n").split("\n")
    await _write_hba(server, [*lines, *before])
    try:
        yield
    finally:
        now = str(await server.fetchval(_HBA)).rstrip("\n").split("\n")
        await _write_hba(server, [line for line in now if line not in lines])


async def _write_hba(server: Database, lines: list[str]) -> None:
    path = await server.fetchval("SELECT quote_literal(current_setting('hba_file'))")
    text = await server.fetchval("SELECT quote_literal($1)", "\n".join(lines))
    await server.execute(f"COPY (SELECT unnest(string_to_array({text}, E'\\n'))) TO {path}")
    await server.execute("SELECT pg_reload_conf()")
