"""Brings a database's schema up to date: what `signal-broker migrate` and the start of `run` do.

    a step, in one transaction --locked within 0.3 s--> applied
      ^                        |
      +------------pause-------+--> a lock is held longer: rolled back

Sessions that ask for a table queue up behind one that waits to lock it exclusively. So a step waits only briefly for
its locks, and retries: behind a backup that takes an hour it takes an hour too, and delays no other session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from broker.errors import SignalBrokerError, StoreRefusal, StoreUnavailable
from broker.server_urls import store_hosts
from broker.store.postgres.concurrent_steps import apply_concurrently, build_ahead, is_concurrent
from broker.store.postgres.database import Database, DataError, Session
from broker.store.postgres.schema import (
    MIGRATIONS,
    STEPS,
    check_ownership,
    find_holders,
    is_current,
    lift_limits,
    lock_schema,
    open_books,
    record_step,
    stop_autovacuum,
)
from broker.store.postgres.step_locks import StepLocks

_PATIENCE = timedelta(days=1)
"""How long a step may take, and how long a process waits for another process to migrate."""
_LOCK_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a step is tried again that did not get its locks; the last one repeats."""
_LONG = 1.0
"""Seconds: steps that took longer are in the log without its debug lines."""
_REPORTS = 10.0
"""Seconds between two lines of the log that tell what a step waits for."""

_MOMENT, _TELLS = 1.0, 4.5
"""Seconds until the log is told of a server that does not answer, and those between two lines of it."""

_NOT_LOCKED = ("40P01", "55P03")
"""SQLSTATEs of a deadlock, and of a lock that was held for too long."""
_PASSING = ("40", "53", "55P03")
"""SQLSTATEs, or their classes, of refusals that pass: a deadlock, too many connections, a lock held too long."""

log = structlog.get_logger()


class StepRefused(SignalBrokerError):
    """Raised when PostgreSQL refuses a step of the schema; the message names the step and the reason."""


async def migrate(url: str, *, wait: float = 0) -> None:
    """Apply every step that the database at *url* does not have yet; safe to run from many processes at once.

    A step has all its effects or none, except for indexes that are built concurrently: each of those is built once.
    After an interruption the next call continues with the interrupted step. Locks that others hold are waited for, for
    a day, without anybody else waiting longer than a moment.

    Args:
        url: ``postgresql://`` URL of a role that may create tables.
        wait: How many seconds to wait for a server that does not answer yet.

    Raises:
        ConfigurationError: The database belongs to another product, or has another encoding than UTF8.
        StoreUnavailable: PostgreSQL did not answer, or refuses the connection. The log is told what it waits for.
        StepRefused: PostgreSQL refused a step.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + wait
    search = _Search(url)
    while True:
        try:
            async with Database(url, size=1) as database:
                with search.telling():
                    current = await is_current(database)
                if not current:
                    await _apply_missing(database)
        except StoreUnavailable as error:
            if not _passes(error) or (clock() > end and (not wait or isinstance(error, StoreRefusal))):
                raise
            if clock() > end:
                raise StoreUnavailable(f"SIGNAL_BROKER_STORE_URL: {search.describe(error)}") from error
            search.tell(error)
            await asyncio.sleep(0.5)
        else:
            return


class _Search:
    """The search for a server that does not answer, of which the log is told at once, and again every few seconds."""

    def __init__(self, url: str) -> None:
        self._where = store_hosts(url)
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._told = float("-inf")

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tell the log if the block takes longer than a moment."""
        slow = asyncio.get_running_loop().call_later(_MOMENT, self.tell, None)
        try:
            yield
        finally:
            slow.cancel()

    def tell(self, error: StoreUnavailable | None) -> None:
        """Tell the log why there is no answer, unless it was told so just now."""
        if self._clock() >= self._told + _TELLS:
            self._told = self._clock()
            log.warning(
                "migration.waits",
                seconds=round(self._told - self._began),
                hint=f"waiting for PostgreSQL at {self._where}",
                error="no answer yet" if error is None else _reason(error),
            )

    def describe(self, error: StoreUnavailable) -> str:
        """Return a sentence about where there is no answer, and why."""
        return (
            f"PostgreSQL at {self._where} did not answer within {self._clock() - self._began:.0f} s: {_reason(error)}"
        )


def _reason(error: StoreUnavailable) -> str:
    return str(error).removeprefix("PostgreSQL: ")


async def _apply_missing(database: Database) -> None:
    async with database.dedicated_session(timeout=_PATIENCE) as session:
        await lift_limits(session)
        await lock_schema(session)
        async with session.transaction():
            await check_ownership(session)
            has = await open_books(session)
        missing = [step for step in STEPS if step not in has]
        for step in missing:
            await _apply(session, step)
    log.info("store.migrated", steps=missing)


async def _apply(session: Session, step: str) -> None:
    script = (MIGRATIONS / f"{step}.sql").read_text(encoding="utf-8")

    async def once_locked(work: Callable[[], Awaitable[None]]) -> None:
        await _once_locked(session, step, work)

    began = time.perf_counter()
    try:
        if is_concurrent(script):
            await apply_concurrently(session, script, once_locked)
            await once_locked(lambda: record_step(session, step))
        else:
            remaining = await build_ahead(session, script, once_locked)

            async def apply() -> None:
                await session.execute(remaining)
                await record_step(session, step)

            await _once_locked(session, step, apply, StepLocks(script))
    except (StoreRefusal, DataError) as error:
        if _passes(error):
            raise
        raise StepRefused(f"step {step} of the schema was refused: {error}") from error
    seconds = time.perf_counter() - began
    (log.info if seconds > _LONG else log.debug)("migration.applied", step=step, seconds=round(seconds, 3))


async def _once_locked(
    session: Session, step: str, work: Callable[[], Awaitable[None]], locks: StepLocks | None = None
) -> None:
    """Do *work* in one transaction, and again, with *locks* ahead of it, while others hold what it needs to lock."""
    clock = asyncio.get_running_loop().time
    began, reported, tries = clock(), float("-inf"), 0
    while True:
        try:
            async with session.transaction():
                if tries:
                    await stop_autovacuum(session)
                await session.execute("SET LOCAL lock_timeout = '300ms'")
                if tries and locks:
                    await locks.take(session)
                await work()
        except StoreRefusal as error:
            if error.sqlstate not in _NOT_LOCKED or clock() > began + _PATIENCE.total_seconds():
                raise
            if clock() >= reported + _REPORTS:
                reported = clock()
                holders = await find_holders(session)
                log.warning(
                    "migration.waits", step=step, seconds=round(clock() - began), error=str(error), held_by=holders
                )
            await asyncio.sleep(_LOCK_PAUSES[min(tries, len(_LOCK_PAUSES) - 1)])
            tries += 1
        else:
            return


def _passes(error: SignalBrokerError) -> bool:
    """Return whether *error* passes without anybody's doing."""
    if isinstance(error, StoreRefusal):
        return error.sqlstate.startswith(_PASSING)
    return isinstance(error, StoreUnavailable)
