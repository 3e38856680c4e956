"""Steps of the schema that build indexes while everybody goes on writing, and indexes of other steps, built ahead.

A concurrent step is a file of nothing but ``CREATE INDEX CONCURRENTLY`` and ``DROP INDEX CONCURRENTLY IF EXISTS``.
PostgreSQL does not do that within a transaction, nor for a partitioned table as a whole: its index is built for each
partition, and then attached (https://www.postgresql.org/docs/current/ddl-partitioning.html).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import structlog

from broker.errors import StoreRefusal
from broker.store.postgres.database import DataError, Session
from broker.store.postgres.statements import Statement, Statements

_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_CREATE = re.compile(
    r"CREATE (?P<unique>UNIQUE )?INDEX CONCURRENTLY (?P<name>\w+)\s+ON (?P<table>\w+) (?P<rest>.+)", re.DOTALL
)
_DROP = re.compile(r"DROP INDEX CONCURRENTLY IF EXISTS (?P<name>\w+)")
_BUILT_WITHIN = re.compile(
    r"^CREATE (?P<unique>UNIQUE )?INDEX (?P<name>\w+)\s+ON (?P<table>\w+) (?P<rest>[^;]+)", re.MULTILINE
)
_LACKS = "42"
"""The class of SQLSTATEs of a statement about something that does not exist yet."""

OnceLocked = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
"""Does something in one transaction, and again while others hold what it needs to lock."""

log = structlog.get_logger()


class _Sql(Statements, file="concurrent_steps.sql"):
    is_partitioned: Statement
    is_index_of_partitions: Statement
    find_unfinished: Statement
    find_partition_without: Statement
    is_partition: Statement
    is_to_be_built: Statement


def is_concurrent(script: str) -> bool:
    """Return whether the step's statements are done one by one, outside a transaction."""
    return "INDEX CONCURRENTLY" in _COMMENT.sub("", script)


def read_statements(script: str) -> list[re.Match[str]]:
    """Return the statements of a concurrent step.

    Raises:
        ValueError: One of them is neither of the two that such a step may have.
    """
    texts = [text.strip() for text in _COMMENT.sub("", script).split(";")]
    found = [(text, _CREATE.fullmatch(text) or _DROP.fullmatch(text)) for text in texts if text]
    for text, statement in found:
        if statement is None:
            raise ValueError(f"a concurrent step cannot have this statement: {text}")
    return [statement for _, statement in found if statement is not None]


async def apply_concurrently(session: Session, script: str, once_locked: OnceLocked) -> None:
    """Do the statements of *script*, each of which is done when it is repeated, and left alone if it was complete."""
    for statement in read_statements(script):
        if statement.re is _DROP:
            await _drop(session, statement, once_locked)
        elif await session.fetchval(_Sql.is_partitioned, table=statement["table"]):
            await _build_for_partitions(session, statement, once_locked)
        else:
            await _build(session, statement, statement["name"], statement["table"])


async def build_ahead(session: Session, script: str, once_locked: OnceLocked) -> str:
    """Build the indexes of large tables that can be built before a step that is one transaction; return its script.

    The step would hold up everyone who writes to these tables while it builds one after the other. If it then failed to
    get a lock, it would build all of them again. An index that needs something else of the step is left to it, and so
    is one whose name is taken until then.
    """
    for statement in _BUILT_WITHIN.finditer(script):
        if not await session.fetchval(_Sql.is_to_be_built, name=statement["name"], table=statement["table"]):
            continue
        try:
            if await session.fetchval(_Sql.is_partitioned, table=statement["table"]):
                await _build_for_partitions(session, statement, once_locked)
            else:
                await _build(session, statement, statement["name"], statement["table"])
        except StoreRefusal as error:
            if not error.sqlstate.startswith(_LACKS):
                raise
    return _BUILT_WITHIN.sub(lambda found: found[0].replace("INDEX", "INDEX IF NOT EXISTS", 1), script)


async def _drop(session: Session, statement: re.Match[str], once_locked: OnceLocked) -> None:
    if await session.fetchval(_Sql.is_index_of_partitions, name=statement["name"]):

        async def drop() -> None:  # which is not done concurrently, and takes no time
            await session.execute(f"DROP INDEX {statement['name']}")

        await once_locked(drop)
    else:
        await session.execute(statement[0])


async def _build_for_partitions(session: Session, statement: re.Match[str], once_locked: OnceLocked) -> None:
    name, table = statement["name"], statement["table"]

    async def create_parent() -> None:  # partitions that are made from now on have it
        await session.execute(
            f"CREATE {statement['unique'] or ''}INDEX IF NOT EXISTS {name} ON ONLY {table} {statement['rest']}"
        )

    await once_locked(create_parent)
    while (partition := await session.fetchval(_Sql.find_partition_without, table=table, name=name)) is not None:
        child = f"{partition}_{name}"

        async def attach(child: str = child) -> None:
            await session.execute(f"ALTER INDEX {name} ATTACH PARTITION {child}")

        try:
            await _build(session, statement, child, partition)
            await once_locked(attach)
        except (StoreRefusal, DataError):
            if await session.fetchval(_Sql.is_partition, table=table, partition=partition):
                raise


async def _build(session: Session, statement: re.Match[str], name: str, table: str) -> None:
    """Build an index, and again if a build of it was interrupted."""
    if await session.fetchval(_Sql.find_unfinished, name=name):
        await session.execute(f"DROP INDEX CONCURRENTLY {name}")
    log.info("migration.index", index=name, table=table)
    await session.execute(
        f"CREATE {statement['unique'] or ''}INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} {statement['rest']}"
    )
