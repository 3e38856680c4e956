"""A private PostgreSQL for the session, and a fresh database of it for every test that asks."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from yarl import URL

from broker.store.postgres.database import Database
from broker.store.postgres.embedded import embedded_postgres
from broker.store.postgres.migrate import migrate

TEMPLATE = "signal_broker_template"


def on_database(url: str, name: str) -> str:
    """Return *url* with its database replaced by *name*."""
    return str(URL(url).with_path(f"/{name}", keep_query=True))


@contextmanager
def postgres_server(directory: Path) -> Iterator[str]:
    """Yield the URL of a server with a migrated template database: the given one, else an embedded one."""
    given = os.environ.get("SIGNAL_BROKER_TEST_STORE_URL")
    if given:
        asyncio.run(_make_template(given))
        yield given
        return
    with embedded_postgres(directory) as url:
        asyncio.run(_make_template(url))
        yield url


async def _make_template(url: str) -> None:
    async with Database(url) as database:
        await database.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
        await database.execute(f"CREATE DATABASE {TEMPLATE}")
    await migrate(on_database(url, TEMPLATE))


@asynccontextmanager
async def fresh_database(url: str) -> AsyncIterator[str]:
    """Yield the URL of a fresh clone of the template; it is dropped afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    async with Database(url, size=1) as database:
        await database.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        try:
            yield on_database(url, name)
        finally:
            await database.execute(f"DROP DATABASE {name} WITH (FORCE)")
