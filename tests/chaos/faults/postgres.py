"""What can befall PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from broker.store.postgres.database import Database
from tests.chaos.faults.fault import Fault, Need, needing
from tests.chaos.postgres import ROLE, Postgres

if TYPE_CHECKING:
    from tests.chaos.stack import Stack

_TERMINATE = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"


def _server(
    name: str,
    begin: Callable[[Postgres], None],
    end: Callable[[Postgres], None],
    *needs: Need,
    seconds: float = 0,
) -> Fault:
    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        try:
            await asyncio.to_thread(begin, stack.postgres)
            yield
        finally:
            await asyncio.to_thread(end, stack.postgres)

    return Fault(name=name, inflict=inflict, seconds=seconds, needs=needing("postgres", *needs))


def restart() -> Fault:
    """Return the fault that stops the server in good order."""
    return _server("PostgreSQL restarted", Postgres.stop, Postgres.start)


def crash(*, seconds: float = 0) -> Fault:
    """Return the fault that stops the server without letting it finish anything."""
    return _server("PostgreSQL crashed", Postgres.crash, Postgres.start, seconds=seconds)


def suspend(*, seconds: float) -> Fault:
    """Return the fault in which the server hangs."""
    return _server(f"PostgreSQL hung {seconds:g} s", Postgres.suspend, Postgres.resume, seconds=seconds)


def fill_up(*, seconds: float) -> Fault:
    """Return the fault in which the disk of its log is full."""
    return _server("PostgreSQL disk full", Postgres.fill_up, Postgres.free_up, "disk", seconds=seconds)


def fail_over() -> Fault:
    """Return the fault in which the primary crashes, and its synchronous standby takes over."""

    def begin(postgres: Postgres) -> None:
        postgres.add_standby()
        postgres.crash()

    return _server("PostgreSQL failover", begin, Postgres.promote_standby, seconds=2)


def terminate(*, times: int = 3) -> Fault:
    """Return the fault in which every connection of the product's is terminated."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        for _ in range(times):
            await stack.postgres.execute(_TERMINATE)
            await asyncio.sleep(0.5)
        yield

    return Fault(name=f"PostgreSQL terminated x{times}", inflict=inflict, needs=needing("postgres"))


def lock(table: str, *, seconds: float) -> Fault:
    """Return the fault in which another session locks a whole table."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        async with Database(stack.postgres.admin_url, size=1) as database, database.dedicated_session() as session:
            await session.execute("SET idle_in_transaction_session_timeout = 0")
            async with session.transaction():
                await session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                yield

    return Fault(name=f"{table} locked", inflict=inflict, seconds=seconds, needs=needing("postgres"))


def alter_role(what: str, begin: str, end: str, *, seconds: float) -> Fault:
    """Return the fault in which the product's role may not connect."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        try:
            await stack.postgres.execute(f"ALTER ROLE {ROLE} {begin}", _TERMINATE)
            yield
        finally:
            await stack.postgres.execute(f"ALTER ROLE {ROLE} {end}")

    return Fault(name=f"PostgreSQL {what}", inflict=inflict, seconds=seconds, needs=needing("postgres"))


FAULTS = [
    restart(),
    crash(seconds=1),
    suspend(seconds=10),
    suspend(seconds=30),
    terminate(),
    lock("signals", seconds=20),
    lock("deliveries", seconds=20),
    alter_role("NOLOGIN", "NOLOGIN", "LOGIN", seconds=8),
    alter_role("out of connections", "CONNECTION LIMIT 0", "CONNECTION LIMIT -1", seconds=8),
    alter_role("password changed", "PASSWORD 'another'", f"PASSWORD '{ROLE}'", seconds=8),
    fail_over(),
    fill_up(seconds=5),
]
