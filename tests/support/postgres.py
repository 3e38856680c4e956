"""A private PostgreSQL for the session, and a database of it for every test that asks, as fresh as a new one."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

from yarl import URL

from broker.errors import StoreUnavailable
from broker.store.postgres.concurrent_steps import apply_concurrently, is_concurrent
from broker.store.postgres.database import Database
from broker.store.postgres.embedded import embedded_postgres
from broker.store.postgres.migrate import migrate
from broker.store.postgres.schema import MIGRATIONS, STEPS

URL_VARIABLE = "SIGNAL_BROKER_TEST_STORE_URL"

_FORGETFUL = ("fsync", "full_page_writes", "synchronous_commit")
"""What makes a write survive a crash of the machine, and costs most of the time that a write takes."""

_TABLES = "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r' AND oid >= 16384"

_SEQUENCES = """
SELECT array_agg(format('%I.%I', schemaname, sequencename)) AS names,
       array_agg(coalesce(last_value, start_value)) AS numbers, array_agg(last_value IS NOT NULL) AS called
FROM pg_sequences
"""
_SET_SEQUENCES = """
SELECT setval(name::regclass, number, called)
FROM unnest($1::text[], $2::bigint[], $3::boolean[]) AS sequences (name, number, called)
"""

# A clone's objects have the ids that they have in the template.
_SCHEMA = """
SELECT md5(string_agg(object, ' ' ORDER BY object)) FROM (
    SELECT concat_ws(',', oid, relname, relnamespace, relnatts, relchecks, relispartition, reloptions)
    FROM pg_class WHERE oid >= 16384 AND relkind <> 't'
    UNION ALL SELECT concat_ws(',', attrelid, attnum, attname, atttypid, attnotnull, atthasdef)
    FROM pg_attribute WHERE attrelid >= 16384
    UNION ALL SELECT concat_ws(',', oid, conname, convalidated) FROM pg_constraint WHERE oid >= 16384
    UNION ALL SELECT concat_ws(',', oid, tgname, tgenabled) FROM pg_trigger WHERE oid >= 16384
    UNION ALL SELECT concat_ws(',', oid, proname, md5(prosrc)) FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT concat_ws(',', oid, nspname) FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'
) AS objects (object)
"""


@dataclass
class PostgresServer:
    """A server with a migrated template, and the clones of it that no test has at the moment.

    A clone takes a third of a second of CPU, so that it is emptied and used again, unless its schema was changed.

    Args:
        url: Where it is.
        template: The template's name.
    """

    url: str
    template: str
    newest: int = 0
    schema: str = ""
    rows: dict[str, str] = field(default_factory=dict)
    sequences: tuple[list[str], list[int], list[bool]] = ([], [], [])
    free: list[str] = field(default_factory=list)

    @classmethod
    async def prepare(cls, url: str) -> Self:
        """Return the server at *url* with a new template, of a name that no other session has."""
        server = cls(url, f"signal_broker_template_{uuid.uuid4().hex}")
        await server._execute(f"CREATE DATABASE {server.template}")
        await migrate(server.database_url(server.template))
        async with Database(server.database_url(server.template), size=1) as database:
            server.newest = await database.fetchval("SELECT max(oid)::bigint FROM pg_class")
            server.schema = await database.fetchval(_SCHEMA)
            server.sequences = tuple((await database.fetchrow(_SEQUENCES)).values())
            for table in await database.fetch(_TABLES):
                rows = await database.fetchval(f"SELECT json_agg(t) FROM {table['name']} AS t")
                if rows is not None:
                    server.rows[table["name"]] = rows
        return server

    async def drop(self) -> None:
        """Leave nothing of it on the server."""
        for name in [*self.free, self.template]:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def database_url(self, name: str) -> str:
        """Return the URL of another database of the server."""
        return on_database(self.url, name)

    async def take(self) -> str:
        """Return the name of a database that is as migrated as the template, and as empty."""
        if self.free:
            return self.free.pop()
        name = f"test_{uuid.uuid4().hex}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {self.template}")
        return name

    async def give_back(self, name: str) -> None:
        """Cut every connection of a database, and make it as it was; drop it, if that cannot be done."""
        try:
            as_before = await self._reset(name)
        except StoreUnavailable:
            as_before = False
        if as_before:
            self.free.append(name)
        else:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _reset(self, name: str) -> bool:
        """Empty the database and return whether it has the template's schema."""
        async with Database(self.database_url(name), size=1) as database, database.session() as session:
            await session.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            if made := await session.fetch(f"{_TABLES} AND oid > $1", self.newest):
                await session.execute(f"DROP TABLE {', '.join(table['name'] for table in made)}")
            if written := await session.fetch(f"{_TABLES} AND pg_relation_size(oid) > 0"):
                await session.execute(f"TRUNCATE {', '.join(table['name'] for table in written)} CASCADE")
            await session.execute("DELETE FROM pg_statistic WHERE starelid >= 16384")
            if await session.fetchval(_SCHEMA) != self.schema:
                return False
            for table, rows in self.rows.items():
                await session.execute(
                    f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, $1)", rows
                )
            await session.execute(_SET_SEQUENCES, *self.sequences)
        return True

    async def _execute(self, statement: str) -> None:
        async with Database(self.url, size=1) as database:
            await database.execute(statement)


def on_database(url: str, name: str) -> str:
    """Return *url* with its database replaced by *name*."""
    return str(URL(url).with_path(f"/{name}", keep_query=True))


@contextmanager
def postgres_server(directory: Path, *, durable: bool = True) -> Iterator[PostgresServer]:
    """Yield a prepared server: the given one, else an embedded one, which may forget what it wrote unless *durable*."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        server = asyncio.run(PostgresServer.prepare(given))
        try:
            yield server
        finally:
            asyncio.run(server.drop())
        return
    settings = {"max_connections": "400"} | ({} if durable else dict.fromkeys(_FORGETFUL, "off"))
    with embedded_postgres(directory) as url:
        asyncio.run(_set(url, settings))
    with embedded_postgres(directory) as url:  # some settings matter from a start on
        yield asyncio.run(PostgresServer.prepare(url))


async def _set(url: str, settings: Mapping[str, str]) -> None:
    async with Database(url, size=1) as database:
        for setting, value in settings.items():
            await database.execute(f"ALTER SYSTEM SET {setting} = {value}")


@asynccontextmanager
async def fresh_database(server: PostgresServer) -> AsyncIterator[str]:
    """Yield the URL of a database that is as good as new, for as long as the context lasts."""
    name = await server.take()
    try:
        yield server.database_url(name)
    finally:
        await server.give_back(name)


@asynccontextmanager
async def unmigrated(server_url: str) -> AsyncIterator[Database]:
    """Yield an empty database, which may be large when it is dropped."""
    name = f"test_{uuid.uuid4().hex}"
    async with Database(server_url, size=1, timeout=timedelta(minutes=2)) as server:
        await server.execute(f"CREATE DATABASE {name}")
        try:
            async with Database(on_database(server_url, name)) as database:
                yield database
        finally:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def run_scripts(database: Database, *, after: str = "", to: str) -> None:
    """Run the scripts of the steps after *after* up to *to*; no books are kept of them."""
    for script in [(MIGRATIONS / f"{step}.sql").read_text() for step in STEPS if after < step <= to]:
        if is_concurrent(script):
            async with database.session() as session:
                await apply_concurrently(session, script, lambda work: work())
        else:
            await database.execute(script)
