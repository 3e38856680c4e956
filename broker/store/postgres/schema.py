"""The schema's revision: which one a database has, and which one this version of the product needs."""

from __future__ import annotations

from contextlib import suppress
from importlib.resources import files

from broker.errors import StoreUnavailable
from broker.store.postgres.database import Database

NEEDED = max(
    entry.name.removesuffix(".sql")
    for entry in (files("broker.store.postgres") / "migrations").iterdir()
    if entry.name.endswith(".sql")
)
"""The newest step; steps are numbered, so that their order is the order of their names."""


async def revision(database: Database) -> str:
    """Return the newest step that *database* has; an empty text for none.

    Raises:
        StoreUnavailable: PostgreSQL did not answer.
    """
    if await database.fetchval("SELECT to_regclass('alembic_version')") is None:
        return ""
    return str(await database.fetchval("SELECT coalesce(max(version_num), '') FROM alembic_version"))


async def upgrade(url: str, *, wait: float = 0) -> None:
    """Bring the database at *url* up to date, if it is not; see `broker.store.postgres.migrate.migrate`.

    Raises:
        StoreUnavailable: PostgreSQL did not answer within *wait* seconds, or refused a step.
    """
    with suppress(StoreUnavailable):
        async with Database(url, size=1) as database:
            if await revision(database) >= NEEDED:
                return
    from broker.store.postgres.migrate import migrate  # noqa: PLC0415  (half a second that is rarely needed)

    await migrate(url, wait=wait)
