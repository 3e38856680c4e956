"""The schema that broker/store/schema.sql shows is the one that the migrations make."""

from __future__ import annotations

from tests.support.schema import FILE, describe


async def test_the_schema_for_readers_is_the_one_that_the_migrations_make(database):
    """If it is not: ``python -m tests.support.schema`` writes the file."""
    assert await describe(database) == FILE.read_text("utf-8")
