"""PostgreSQL as the rest of the product sees it: the only module that imports asyncpg.

Every statement has a deadline, and every way in which the server can fail to answer is `StoreUnavailable`.
What the server says about the data itself (a broken constraint, say) passes as `DataError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import asyncpg  # noqa: TID251  (the fence)
import structlog

from broker.errors import SignalBrokerError, StoreUnavailable
from broker.store.postgres.statements import Statement

Row = asyncpg.Record

log = structlog.get_logger()

_SERVER_SETTINGS = {
    "application_name": "signal-broker",
    "timezone": "UTC",
    "jit": "off",
    # Whoever stops in the middle of a transaction (a machine that is frozen or gone) must not hold up the others.
    "idle_in_transaction_session_timeout": "10s",
}

_DOWN = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.QueryCanceledError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalClientError,  # a link that was lost while a statement was being sent
    asyncpg.ReadOnlySQLTransactionError,  # a primary that became a standby
    asyncpg.LockNotAvailableError,
    asyncpg.InsufficientPrivilegeError,  # for an administrator to put right
    asyncpg.UndefinedTableError,  # a process that is newer than the schema: it waits for `migrate`
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
)


class DataError(SignalBrokerError):
    """Raised when PostgreSQL refuses the data or the statement itself; trying again would not help."""


class Conflict(DataError):
    """Raised when a unique constraint is broken; `constraint` names it."""

    def __init__(self, message: str, constraint: str | None) -> None:
        super().__init__(message)
        self.constraint = constraint


class Unplaced(DataError):
    """Raised when no partition takes a row."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Conflict(str(error), error.constraint_name) from error
    except asyncpg.CheckViolationError as error:
        raise (DataError if error.constraint_name else Unplaced)(f"PostgreSQL: {error}") from error
    except _DOWN as error:
        if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
            # An argument that asyncpg cannot encode: the data's fault, and no fault of the server's.
            raise DataError(f"PostgreSQL: {error}") from error
        raise StoreUnavailable(f"PostgreSQL: {type(error).__name__}: {error}") from error
    except asyncpg.PostgresError as error:
        raise DataError(f"PostgreSQL: {error}") from error


def _resolved(
    statement: Statement | str, args: Sequence[object], parameters: Mapping[str, object]
) -> tuple[object, ...]:
    """Return what asyncpg takes: the text, and the values in the order of their numbers."""
    if isinstance(statement, Statement):
        return statement.sql, *statement.arguments(parameters)
    return statement, *args


class Session:
    """One connection, inside a transaction or for a single statement.

    A `Statement` takes its parameters by name. A plain text takes them by number, as asyncpg does; the product has its
    SQL in files, so that is for tests and for the server's own settings.
    """

    def __init__(self, connection: Any, timeout: timedelta) -> None:
        self._connection = connection
        self._timeout = timeout.total_seconds()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """Make one transaction of what is done meanwhile: committed on leaving, rolled back on an error."""
        transaction = self._connection.transaction()
        with _translated():
            await transaction.start()
        try:
            yield self
        except (StoreUnavailable, asyncio.CancelledError):
            raise  # the connection goes, and the transaction with it
        except BaseException:
            with suppress(*_DOWN, asyncpg.PostgresError):
                await transaction.rollback()
            raise
        with _translated():
            await transaction.commit()

    async def fetch(self, statement: Statement | str, *args: object, **parameters: object) -> list[Row]:
        """Return every row of *statement*."""
        with _translated():
            return await self._connection.fetch(*_resolved(statement, args, parameters), timeout=self._timeout)  # type: ignore[no-any-return]

    async def fetchrow(self, statement: Statement | str, *args: object, **parameters: object) -> Row | None:
        """Return the first row of *statement*, if any."""
        with _translated():
            return await self._connection.fetchrow(*_resolved(statement, args, parameters), timeout=self._timeout)  # type: ignore[no-any-return]

    async def fetchval(self, statement: Statement | str, *args: object, **parameters: object) -> Any:
        """Return the first column of the first row of *statement*, if any."""
        with _translated():
            return await self._connection.fetchval(*_resolved(statement, args, parameters), timeout=self._timeout)

    async def execute(self, statement: Statement | str, *args: object, **parameters: object) -> str:
        """Run *statement* and return PostgreSQL's command tag."""
        with _translated():
            return await self._connection.execute(*_resolved(statement, args, parameters), timeout=self._timeout)  # type: ignore[no-any-return]


class Database:
    """A pool of connections to one PostgreSQL database, given as a ``postgresql://`` URL.

    An async context manager. Entering does not wait for the server: the pool connects when it is first used.
    """

    def __init__(self, url: str, *, timeout: timedelta = timedelta(seconds=5), size: int = 10) -> None:
        self.url = url
        self.timeout = timeout
        self._pool: Any = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=size,
            timeout=timeout.total_seconds(),
            command_timeout=timeout.total_seconds(),
            max_inactive_connection_lifetime=60,
            server_settings=_SERVER_SETTINGS,
        )
        self._listeners: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        with _translated():
            await self._pool
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._listeners:
            task.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                await self._pool.close()
        except (TimeoutError, *_DOWN):
            self._pool.terminate()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Lend a connection; each statement is its own transaction."""
        with _translated():
            connection = await self._pool.acquire(timeout=self.timeout.total_seconds())
        try:
            yield Session(connection, self.timeout)
        except (StoreUnavailable, asyncio.CancelledError):
            # Giving it back would first cancel the statement, and so wait once more for a server that does not answer.
            with suppress(*_DOWN):
                connection.terminate()
            raise
        finally:
            with suppress(*_DOWN):
                await self._pool.release(connection, timeout=self.timeout.total_seconds())

    @asynccontextmanager
    async def hold(self, *, timeout: timedelta | None = None) -> AsyncIterator[Session]:
        """Lend a connection of its own outside the pool; what belongs to it (advisory locks) ends with the context.

        *timeout*: how long a statement may take, if not as long as all others.
        """
        with _translated():
            connection = await asyncpg.connect(
                self.url, timeout=self.timeout.total_seconds(), server_settings=_SERVER_SETTINGS
            )
        try:
            yield Session(connection, timeout or self.timeout)
        finally:
            connection.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Lend a connection for one transaction: committed on leaving, rolled back on an error."""
        async with self.session() as session, session.transaction():
            yield session

    async def fetch(self, statement: Statement | str, *args: object, **parameters: object) -> list[Row]:
        """Return every row of *statement*, run on its own."""
        async with self.session() as session:
            return await session.fetch(statement, *args, **parameters)

    async def fetchrow(self, statement: Statement | str, *args: object, **parameters: object) -> Row | None:
        """Return the first row of *statement*, if any."""
        async with self.session() as session:
            return await session.fetchrow(statement, *args, **parameters)

    async def fetchval(self, statement: Statement | str, *args: object, **parameters: object) -> Any:
        """Return the first column of the first row of *statement*, if any."""
        async with self.session() as session:
            return await session.fetchval(statement, *args, **parameters)

    async def execute(self, statement: Statement | str, *args: object, **parameters: object) -> str:
        """Run *statement* and return PostgreSQL's command tag."""
        async with self.session() as session:
            return await session.execute(statement, *args, **parameters)

    def listen(self, channel: str, heard: Callable[[str | None], None]) -> None:
        """Call *heard* with the payload of every NOTIFY on *channel*, until the database is closed.

        After a lost connection *heard* is called with ``None`` once listening again: anything may have been missed.
        """
        task = asyncio.create_task(self._listen(channel, heard), name=f"listen:{channel}")
        self._listeners.add(task)
        task.add_done_callback(self._listeners.discard)

    async def _listen(self, channel: str, heard: Callable[[str | None], None]) -> None:
        while True:
            try:
                connection = await asyncpg.connect(self.url, timeout=self.timeout.total_seconds())
            except (*_DOWN, asyncpg.PostgresError) as error:
                log.warning("listener.lost", channel=channel, error=str(error))
                await asyncio.sleep(0.5)
                continue
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _, lost=lost: lost.set())
            try:
                await connection.add_listener(channel, lambda _c, _p, _n, payload: heard(str(payload)))
                heard(None)
                await self._keep_alive(connection, lost)
            except (*_DOWN, asyncpg.PostgresError) as error:
                log.warning("listener.lost", channel=channel, error=str(error))
            finally:
                connection.terminate()

    async def _keep_alive(self, connection: Any, lost: asyncio.Event) -> None:
        """Return once *connection* is gone; a server that hangs is noticed by a query every ten seconds."""
        while not lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await lost.wait()
                    return
            await connection.fetchval("SELECT 1", timeout=self.timeout.total_seconds())
