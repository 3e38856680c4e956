"""The schema's revision: which one a database has, and which one this version of the product needs."""

from __future__ import annotations

from importlib.resources import files

from broker.store.database import Database

NEEDED = max(
    entry.name.removesuffix(".sql")
    for entry in (files("broker.store") / "migrations").iterdir()
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
