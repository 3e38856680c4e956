"""Brings a database's schema up to date: what `signal-broker migrate` and the start of `run` do."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from broker.errors import SignalBrokerError, StoreRefusal, StoreUnavailable
from broker.store.postgres.database import Database, DataError, Session
from broker.store.postgres.schema import MIGRATIONS, STEPS, is_current, lock_schema, open_books, record_step

_PATIENCE = timedelta(days=1)
"""How long a step may take, and how long a process waits for another process to migrate."""

_PASSING = ("40", "53", "55P03")
"""SQLSTATEs, or their classes, of refusals that pass: a deadlock, too many connections, a lock held too long."""

log = structlog.get_logger()


class StepRefused(SignalBrokerError):
    """Raised when PostgreSQL refuses a step of the schema; the message names the step and the reason."""


async def migrate(url: str, *, wait: float = 0) -> None:
    """Apply every step that the database at *url* does not have yet; safe to run from many processes at once.

    Each step is a transaction of its own. After an interruption the next call continues with the interrupted step.

    Args:
        url: ``postgresql://`` URL of a role that may create tables.
        wait: How many seconds to wait for a server that does not answer yet.

    Raises:
        StoreUnavailable: PostgreSQL did not answer, or refuses the connection.
        StepRefused: PostgreSQL refused a step.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + wait
    while True:
        try:
            async with Database(url, size=1) as database:
                if not await is_current(database):
                    await _apply_missing(database)
        except StoreUnavailable as error:
            if clock() > end or not _passes(error):
                raise
            await asyncio.sleep(0.5)
        else:
            return


async def _apply_missing(database: Database) -> None:
    async with database.dedicated_session(timeout=_PATIENCE) as session:
        await lock_schema(session)
        async with session.transaction():
            has = await open_books(session)
        missing = [step for step in STEPS if step not in has]
        for step in missing:
            await _apply(session, step)
    log.info("store.migrated", steps=missing)


async def _apply(session: Session, step: str) -> None:
    script = (MIGRATIONS / f"{step}.sql").read_text(encoding="utf-8")
    try:
        async with session.transaction():
            await session.execute(script)
            await record_step(session, step)
    except (StoreRefusal, DataError) as error:
        if _passes(error):
            raise
        raise StepRefused(f"step {step} of the schema was refused: {error}") from error


def _passes(error: SignalBrokerError) -> bool:
    """Return whether *error* passes without anybody's doing."""
    if isinstance(error, StoreRefusal):
        return error.sqlstate.startswith(_PASSING)
    return isinstance(error, StoreUnavailable)
