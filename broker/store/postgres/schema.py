"""The schema's steps: which ones a database has, and which ones this version of the product needs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from importlib.resources import files

import structlog

from broker.errors import ConfigurationError
from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import Statement, Statements

MIGRATIONS = files("broker.store.postgres") / "migrations"
STEPS = tuple(sorted(entry.name.removesuffix(".sql") for entry in MIGRATIONS.iterdir() if entry.name.endswith(".sql")))
"""The numbers of all steps in the order in which they are applied: ``0001``, ``0002`` and so on, without a gap."""
NEEDED = STEPS[-1]

_ENCODING = "UTF8"
"""The encoding that has every character of a payload."""
_MADE = re.compile(r"CREATE (?:UNIQUE )?(?:TABLE|SEQUENCE|INDEX(?: CONCURRENTLY)?) (\w+)(?![\w.])")
"""A table, a sequence or an index that a step makes: these have one name space."""
_NAMED = 5
"""How many tables of another product a message names."""
_LOCK_PAUSE = 0.2
"""Seconds before a session asks again for the lock of those who migrate."""
_REPORTS = 10.0
"""Seconds between two lines of the log that tell who has it."""

log = structlog.get_logger()


class _Sql(Statements, file="schema_steps.sql"):
    create_books: Statement
    has_books: Statement
    list: Statement
    has_alembic_books: Statement
    newest_of_alembic: Statement
    lift_limits: Statement
    encoding: Statement
    look_up: Statement
    find_stores: Statement
    find_foreign: Statement
    has_alembic_version: Statement
    alembic_is_used: Statement
    record: Statement
    record_for_alembic: Statement
    lock: Statement
    find_migrator: Statement
    find_holders: Statement
    find_tables: Statement


async def applied(database: Database | Session) -> frozenset[str]:
    """Return the numbers of the steps that *database* has.

    Raises:
        StoreUnavailable: PostgreSQL did not answer.
    """
    if await database.fetchval(_Sql.has_books):
        return frozenset(row["step"] for row in await database.fetch(_Sql.list))
    if await database.fetchval(_Sql.has_alembic_books):
        newest = await database.fetchval(_Sql.newest_of_alembic)
        return frozenset(_name(number) for number in range(1, int(newest) + 1))
    return frozenset()


def made_names() -> frozenset[str]:
    """Return the name of each table, sequence and index that a step makes in the first schema of the search path."""
    return frozenset(
        name for step in STEPS for name in _MADE.findall((MIGRATIONS / f"{step}.sql").read_text(encoding="utf-8"))
    )


async def lift_limits(session: Session) -> None:
    """Let each statement and transaction of *session* take as long as it wants, whatever was set for its role."""
    await session.execute(_Sql.lift_limits)


async def check_ownership(session: Session) -> None:
    """Return if the database has steps of ours, or can become a store of ours.

    Raises:
        ConfigurationError: It belongs to another product, has an encoding that lacks characters, or has a store of ours
            that is not found by this role or with this search path.
    """
    if await applied(session):
        return
    await _check_search_path(session)
    encoding = await session.fetchval(_Sql.encoding)
    if encoding != _ENCODING:
        raise ConfigurationError(
            f"SIGNAL_BROKER_STORE_URL: the database's encoding is {encoding}, and must be {_ENCODING}:"
            f" CREATE DATABASE ... ENCODING '{_ENCODING}' TEMPLATE template0"
        )
    has_books = await session.fetchval(_Sql.has_books)
    foreign = [
        row["name"]
        for row in await session.fetch(_Sql.find_foreign, names=sorted(made_names()), has_books=bool(has_books))
    ]
    if await session.fetchval(_Sql.has_alembic_version) and await session.fetchval(_Sql.alembic_is_used):
        foreign.insert(0, "alembic_version")
    if foreign:
        others = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise ConfigurationError(
            "SIGNAL_BROKER_STORE_URL: the database seems to belong to another product, and nothing in it was changed:"
            f" it has {', '.join(foreign[:_NAMED])}{others}, which signal-broker did not make; give it a database of"
            " its own"
        )


async def _check_search_path(session: Session) -> None:
    """Check that there is a schema to look in and no store of ours in another one: a database has room for one.

    Raises:
        ConfigurationError: There is none, or a store is elsewhere.
    """
    found = await session.fetchrow(_Sql.look_up)
    assert found is not None  # noqa: S101  (a list of expressions always is a row)
    role, path = found["role"], found["search_path"]
    for store in await session.fetch(_Sql.find_stores):
        schema = store["schema"]
        if store["usable"]:
            raise ConfigurationError(
                f"SIGNAL_BROKER_STORE_URL: the store is in the schema {schema} of this database, and the search path"
                f" ({path}) does not lead there: correct `search_path` in the URL, or what"
                f" `ALTER ROLE {role} SET search_path` or `ALTER DATABASE {found['database']} SET search_path` has set"
            )
        raise ConfigurationError(
            f"SIGNAL_BROKER_STORE_URL: the store is in the schema {schema} of this database, which the role {role} may"
            f" not use: as the schema's owner, run `GRANT USAGE ON SCHEMA {schema} TO {role}`, and see with"
            " `signal-broker doctor` what else it lacks"
        )
    if found["schema"] is None:
        raise ConfigurationError(
            f"SIGNAL_BROKER_STORE_URL: the search path ({path}) names no schema that exists and that the role {role}"
            f" may use: correct `search_path`, or run `GRANT USAGE, CREATE ON SCHEMA public TO {role}`"
        )


async def lock_schema(session: Session) -> None:
    """Wait until no other session migrates; the lock ends with *session*. Version 0.1.0 takes the same lock.

    It polls: a session that waits for a lock holds a snapshot. If the session that has the lock builds an index
    concurrently meanwhile, each waits for the other.
    """
    clock = asyncio.get_running_loop().time
    began = reported = clock()
    while not await session.fetchval(_Sql.lock):
        if clock() >= reported + _REPORTS:
            reported = clock()
            holder = await session.fetchval(_Sql.find_migrator)
            log.warning("migration.waits", seconds=round(reported - began), held_by=[holder], hint="it migrates, too")
        await asyncio.sleep(_LOCK_PAUSE)


async def find_holders(session: Session) -> list[str]:
    """Return who holds locks on tables, the three oldest transactions: ``pid 4711 pg_dump for 45 s``."""
    return [row["holder"] for row in await session.fetch(_Sql.find_holders)]


async def stop_autovacuum(session: Session) -> None:
    """Make autovacuum yield until the transaction ends; it yields only to a session that waits for over a second.

    Reads and writes continue meanwhile.
    """
    if tables := await session.fetchval(_Sql.find_tables):
        await session.execute(f"SET LOCAL lock_timeout = '1500ms'; LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE")


async def open_books(session: Session) -> frozenset[str]:
    """Make sure that the table of steps exists and is complete; return the steps that the database has."""
    steps = await applied(session)
    await session.execute(_Sql.create_books)
    await session.execute(_Sql.record, steps=sorted(steps))
    return steps


async def record_step(session: Session, step: str) -> None:
    """Record that *step* is applied."""
    await session.execute(_Sql.record, steps=[step])
    await session.execute(_Sql.record_for_alembic)


async def revision(database: Database | Session) -> str:
    """Return the newest step up to which *database* has every step; an empty text for none.

    Raises:
        StoreUnavailable: PostgreSQL did not answer.
    """
    return last_of_chain(await applied(database))


async def is_current(database: Database | Session) -> bool:
    """Return whether *database* has every step that this version needs; it may have later ones.

    Raises:
        StoreUnavailable: PostgreSQL did not answer.
    """
    return await revision(database) >= NEEDED


def last_of_chain(steps: Collection[str]) -> str:
    """Return the last of *steps* before the first gap; an empty text without the first step."""
    number = 0
    while _name(number + 1) in steps:
        number += 1
    return _name(number) if number else ""


def _name(number: int) -> str:
    return f"{number:04}"
