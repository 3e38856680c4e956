"""PostgreSQL as the rest of the product sees it. Only this module, `connecting` and `lending` import asyncpg.

Every statement has a deadline. Only what PostgreSQL says about the data itself is a `DataError` (see
`broker.store.postgres.answers`). Everything else means "not now" and is a `StoreUnavailable`, whatever its name:
credentials, privileges, the schema and cached plans are put right, and then the same call succeeds.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self, cast
from urllib.parse import parse_qs, urlsplit

import asyncpg  # noqa: TID251  (the fence)
import structlog

from broker.errors import ConfigurationError, SignalBrokerError, StoreRefusal, StoreTimeout, StoreUnavailable
from broker.reasons import named_reason_of, reason_of
from broker.store.postgres.answers import is_about_data
from broker.store.postgres.connecting import Connector, prepare
from broker.store.postgres.lending import Lender
from broker.store.postgres.statements import Statement

Row = asyncpg.Record

log = structlog.get_logger()

PROGRAM = "signal-broker"
"""What the application names of this product's sessions begin with."""
_SERVER_SETTINGS = {"timezone": "UTC"}

_FAILURES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Everything that a call of asyncpg raises; a `TimeoutError` is an `OSError`."""

_LISTENER_PAUSE = 0.5
"""Seconds before a listener connects again that could not connect, or listen."""

_GONE = frozenset({"08", "57"})
"""SQLSTATE classes of a server that is not there: a lost connection, a shutdown, a start."""


class DataError(SignalBrokerError):
    """Raised when PostgreSQL refuses the data itself, or it cannot be encoded; a retry would hardly help."""


class Conflict(DataError):
    """Raised when a unique constraint is violated; `constraint` is its name."""

    def __init__(self, message: str, constraint: str | None) -> None:
        super().__init__(message)
        self.constraint = constraint


class Unplaced(DataError):
    """Raised when no partition covers a row's key."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise _translate(error) from error


def _translate(error: BaseException) -> SignalBrokerError:
    """Return what *error* of asyncpg means: only what is certainly about the data is a `DataError`."""
    match error:
        case asyncpg.ClientConfigurationError():
            return ConfigurationError(f"the store's URL cannot be used: {error}")
        case asyncpg.InterfaceError() if isinstance(error, ValueError):  # an argument that asyncpg cannot encode
            return DataError(f"PostgreSQL: {error}")
        case asyncpg.QueryCanceledError() | TimeoutError():
            return StoreTimeout(f"PostgreSQL: {named_reason_of(error)}")
        case asyncpg.PostgresError():
            return _translate_answer(error)
        case _:
            return StoreUnavailable(f"PostgreSQL: {named_reason_of(error)}")


def _translate_answer(error: asyncpg.PostgresError) -> SignalBrokerError:
    sqlstate, constraint = error.sqlstate or "", error.constraint_name
    # PostgreSQL reports a missing partition as a violated check of the table, without a name.
    if isinstance(error, asyncpg.CheckViolationError) and constraint is None and error.table_name is not None:
        return Unplaced(f"PostgreSQL: {error}")
    if is_about_data(sqlstate, constraint):
        unique = isinstance(error, asyncpg.UniqueViolationError)
        return Conflict(str(error), constraint) if unique else DataError(f"PostgreSQL: {error}")
    message = f"PostgreSQL: {named_reason_of(error)}"
    return StoreUnavailable(message) if sqlstate[:2] in _GONE else StoreRefusal(message, sqlstate)


async def _keep(_: Any) -> None:
    """Leave a connection that returns to the pool as it is, which saves a round trip.

    A session leaves nothing behind: its transaction is over, and whatever it set or locked was local to that.
    """


def _resolve(
    statement: Statement | str, args: Sequence[object], parameters: Mapping[str, object]
) -> tuple[object, ...]:
    """Return the arguments for asyncpg: the text, and the values in the order of their numbers.

    Raises:
        TypeError: The parameters are not those of the statement.
    """
    if isinstance(statement, str) and not parameters:
        return statement, *args
    if isinstance(statement, Statement) and not args:
        return statement.sql, *statement.arguments(parameters)
    raise TypeError("a Statement takes its parameters by name, a text takes them by number")


class Session:
    """One connection, inside a transaction or for a single statement.

    A `Statement` takes its parameters by name. A text takes them by number, as in asyncpg; it is for tests, since the
    product's SQL is in files.
    """

    def __init__(self, connection: Any, timeout: timedelta) -> None:
        self.is_spoiled = False
        """Whether a statement was abandoned, and may still be running."""
        self._connection = connection
        self._timeout = timeout.total_seconds()

    def leave(self) -> None:
        """End the session; the connection is for others now."""
        self._connection = None

    @contextmanager
    def _carrying_out(self) -> Iterator[None]:
        try:
            with _translated():
                yield
        except BaseException as error:
            self.is_spoiled |= not isinstance(error.__cause__, asyncpg.PostgresError)
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """Run the statements of the block in one transaction, committed on leaving and rolled back on an error."""
        transaction = self._connection.transaction()
        with self._carrying_out():
            await transaction.start()
        try:
            yield self
        except asyncio.CancelledError:
            raise  # the connection is closed, which ends the transaction
        except BaseException as error:
            if isinstance(error, StoreUnavailable) and not isinstance(error.__cause__, asyncpg.PostgresError):
                raise  # as well, since the server does not answer
            with suppress(*_FAILURES):
                await transaction.rollback()
            raise
        with self._carrying_out():
            await transaction.commit()

    async def fetch(self, statement: Statement | str, *args: object, **parameters: object) -> list[Row]:
        """Return every row of *statement*."""
        with self._carrying_out():
            return await self._connection.fetch(*_resolve(statement, args, parameters), timeout=self._timeout)  # type: ignore[no-any-return]

    async def fetchrow(self, statement: Statement | str, *args: object, **parameters: object) -> Row | None:
        """Return the first row of *statement*; None without rows."""
        with self._carrying_out():
            return await self._connection.fetchrow(*_resolve(statement, args, parameters), timeout=self._timeout)  # type: ignore[no-any-return]

    async def fetchval(self, statement: Statement | str, *args: object, **parameters: object) -> Any:
        """Return the first column of the first row of *statement*; None without rows."""
        with self._carrying_out():
            return await self._connection.fetchval(*_resolve(statement, args, parameters), timeout=self._timeout)

    async def execute(self, statement: Statement | str, *args: object, **parameters: object) -> str:
        """Run *statement* and return PostgreSQL's command tag."""
        with self._carrying_out():
            return await self._connection.execute(*_resolve(statement, args, parameters), timeout=self._timeout)  # type: ignore[no-any-return]


class PoolUse(NamedTuple):
    """The connections of a pool: those that are idle and used, and how many there may be."""

    idle: int
    used: int
    limit: int


class Database:
    """A pool of connections to one PostgreSQL database, given as a ``postgresql://`` URL.

    An async context manager. Entering does not wait for the server: the pool connects on first use.

    Args:
        url: The database; its ``application_name`` is that of the sessions, if it has one.
        timeout: How long connecting may take, and a statement.
        size: The most connections of the pool.
        purpose: What the sessions are for: without an application name of its own, ``signal-broker`` and this.
    """

    def __init__(
        self, url: str, *, timeout: timedelta = timedelta(seconds=5), size: int = 10, purpose: str = "command"
    ) -> None:
        self.url = url
        self.timeout = timeout
        self.tells_purpose = "application_name" not in parse_qs(urlsplit(url).query)
        """Whether its sessions show what they are for, and have no other name from *url*."""
        self._name = {"application_name": f"{PROGRAM} {purpose}"} if self.tells_purpose else {}
        self._connector = Connector(url)
        self._pool: Any = asyncpg.create_pool(
            url,
            connect=cast("Any", self._connector.connect),
            min_size=0,
            max_size=size,
            timeout=timeout.total_seconds(),
            command_timeout=timeout.total_seconds(),
            max_inactive_connection_lifetime=60,
            init=prepare,
            reset=_keep,
            server_settings=_SERVER_SETTINGS | self._name,
        )
        self._lender = Lender(self._pool, timeout=timeout)
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
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                await asyncio.gather(*self._listeners, return_exceptions=True)
                await self._lender.close()
                await self._pool.close()
        except _FAILURES:
            self._pool.terminate()
        except BaseException:
            self._pool.terminate()
            raise

    @property
    def use(self) -> PoolUse:
        """How many connections of the pool there are, and may be."""
        size, idle = self._pool.get_size(), self._pool.get_idle_size() + self._lender.kept
        return PoolUse(idle=idle, used=size - idle, limit=self._pool.get_max_size())

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Lend a connection of the pool; each statement is a transaction of its own."""
        with _translated():
            loan = await self._lender.borrow()
        session = Session(loan.connection, self.timeout)
        try:
            yield session
        except (StoreUnavailable, asyncio.CancelledError):
            # Giving it back would first cancel its statement, and wait again for a server that does not answer.
            with suppress(*_FAILURES):
                loan.connection.terminate()
            raise
        finally:
            session.leave()
            await self._lender.give_back(loan, spoiled=session.is_spoiled)

    @asynccontextmanager
    async def dedicated_session(self, *, timeout: timedelta | None = None) -> AsyncIterator[Session]:
        """Lend a new connection outside the pool, closed on leaving: its advisory locks and settings end with it.

        *timeout*: how long a statement may take; None is as long as in the pool.
        """
        with _translated():
            connection = await self._connect(_SERVER_SETTINGS)
        try:
            with _translated():
                await prepare(connection, self.timeout.total_seconds())
            yield Session(connection, timeout or self.timeout)
        finally:
            connection.terminate()

    async def _connect(self, settings: Mapping[str, str]) -> Any:
        """Return a new connection outside the pool, to be closed by who asked for it."""
        return await self._connector.connect(
            timeout=self.timeout.total_seconds(), server_settings={**settings, **self._name}
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Lend a connection for one transaction, committed on leaving and rolled back on an error."""
        async with self.session() as session, session.transaction():
            yield session

    async def fetch(self, statement: Statement | str, *args: object, **parameters: object) -> list[Row]:
        """Return every row of *statement*, which is a transaction of its own."""
        async with self.session() as session:
            return await session.fetch(statement, *args, **parameters)

    async def fetchrow(self, statement: Statement | str, *args: object, **parameters: object) -> Row | None:
        """Return the first row of *statement*; None without rows."""
        async with self.session() as session:
            return await session.fetchrow(statement, *args, **parameters)

    async def fetchval(self, statement: Statement | str, *args: object, **parameters: object) -> Any:
        """Return the first column of the first row of *statement*; None without rows."""
        async with self.session() as session:
            return await session.fetchval(statement, *args, **parameters)

    async def execute(self, statement: Statement | str, *args: object, **parameters: object) -> str:
        """Run *statement* and return PostgreSQL's command tag."""
        async with self.session() as session:
            return await session.execute(statement, *args, **parameters)

    def listen(self, channel: str, on_notify: Callable[[str | None], None]) -> None:
        """Call *on_notify* with the payload of every NOTIFY on *channel*, until the database is closed.

        Each time it begins to listen, also after a lost connection, it calls *on_notify* with None: notifications may
        have been missed.
        """
        task = asyncio.create_task(self._listen(channel, on_notify), name=f"listen:{channel}")
        self._listeners.add(task)
        task.add_done_callback(self._listeners.discard)

    async def notify(self, channel: str, payload: str = "") -> None:
        """Notify those who listen to *channel*, in every process."""
        await self.execute("SELECT pg_notify($1, $2)", channel, payload)

    async def hears_notifications(self, *, within: timedelta) -> bool:
        """Return whether a NOTIFY reaches a session that listens: through a pooler in transaction mode, none does.

        Raises:
            StoreUnavailable: PostgreSQL did not answer.
        """
        channel, heard = f"probe_{secrets.token_hex(8)}", asyncio.Event()
        with _translated():
            connection = await self._connect(_SERVER_SETTINGS)
        try:
            with _translated():
                await connection.add_listener(channel, lambda *_: heard.set())
            await self.notify(channel)
            with suppress(TimeoutError):
                async with asyncio.timeout(within.total_seconds()):
                    await heard.wait()
        finally:
            connection.terminate()
        return heard.is_set()

    async def _listen(self, channel: str, on_notify: Callable[[str | None], None]) -> None:
        while True:
            try:
                await self._listen_once(channel, on_notify)
            except _FAILURES as error:
                log.warning("listener.lost", channel=channel, error=reason_of(error))
                await asyncio.sleep(_LISTENER_PAUSE)

    async def _listen_once(self, channel: str, on_notify: Callable[[str | None], None]) -> None:
        """Listen on a connection until it is lost."""
        lost = asyncio.Event()
        connection = await self._connect({})
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(channel, lambda _c, _p, _n, payload: on_notify(str(payload)))
            on_notify(None)
            await self._keep_alive(connection, lost)
        finally:
            connection.terminate()

    async def _keep_alive(self, connection: Any, lost: asyncio.Event) -> None:
        """Return once *connection* is lost; a query every ten seconds detects a server that hangs."""
        while not lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await lost.wait()
                    return
            await connection.fetchval("SELECT 1", timeout=self.timeout.total_seconds())
