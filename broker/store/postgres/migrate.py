"""Brings a database's schema up to date: what `signal-broker migrate` and the start of `run` do."""

from __future__ import annotations

import asyncio
from importlib.resources import files

import structlog
from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from broker.errors import StoreUnavailable

_MIGRATIONS = files("broker.store.postgres") / "migrations"
_LOCK = 7_305_001
"""Advisory lock that lets one process migrate at a time."""

log = structlog.get_logger()


def run_script(revision: str) -> None:
    """Run the step's SQL file; called by the files in ``migrations/versions``."""
    script = (_MIGRATIONS / f"{revision}.sql").read_text(encoding="utf-8")
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None  # noqa: S101  (alembic runs with a live connection)
    # asyncpg prepares what SQLAlchemy sends, and a prepared statement is a single one; a script goes past it.
    connection.run_async(lambda driver: driver.execute(script))


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
    connection.commit()
    command.upgrade(config, "head")
    connection.commit()


async def migrate(url: str, *, wait: float = 0) -> None:
    """Apply every step that the database at *url* does not have yet; safe to run from many processes at once.

    Args:
        url: ``postgresql://`` URL of a role that may create tables.
        wait: How many seconds to wait for a server that does not answer yet.

    Raises:
        StoreUnavailable: PostgreSQL did not answer, or refused a step.
    """
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    clock = asyncio.get_running_loop().time
    end = clock() + wait
    try:
        while True:
            try:
                async with engine.connect() as connection:
                    await connection.run_sync(_upgrade)
            except (OSError, DBAPIError) as error:
                if clock() > end:
                    raise StoreUnavailable(f"PostgreSQL: {error}") from error
                await asyncio.sleep(0.5)
            else:
                log.info("store.migrated")
                return
    finally:
        await engine.dispose()
