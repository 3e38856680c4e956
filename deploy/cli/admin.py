"""Commands of the servers' own side open the store and the transport directly, without a gateway."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.shards import ShardFollower
from broker.store.postgres.database import Database
from broker.store.postgres.migrate import migrate
from broker.store.postgres.schema import NEEDED, revision
from broker.topology import TOPOLOGY
from broker.transport import Transport
from deploy.cli.backends import EMBEDDED, open_rabbitmq, open_transport, settings_with_logs, store_url
from deploy.cli.loop import run_async

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Admin:
    """The open store, for an administrator: access to the store includes every permission."""

    settings: Settings
    database: Database

    @asynccontextmanager
    async def transport(self) -> AsyncIterator[Transport]:
        """Open the transport and declare the topology, as every process does when it starts.

        Raises:
            ConfigurationError: The transport's URL cannot be used, or something there has other arguments.
            Unavailable: It could not be reached.
        """
        timeout = self.settings.confirm_timeout
        async with _declared(
            lambda: open_transport(self.settings, self.database, declare_timeout=timeout)
        ) as transport:
            await ShardFollower(self.database, transport, declare=False).look()
            yield transport


def with_store(command: Callable[Concatenate[Admin, P], Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Return *command* for click; it is called with the open store as its first argument.

    An embedded store that is not running is started for the time of the command, and its schema is brought up to date.

    Raises:
        ConfigurationError: A setting is wrong, there is no embedded store, or the store's schema is older than this
            version needs.
        StoreUnavailable: PostgreSQL did not answer.
    """

    @functools.wraps(command)
    def called(*args: P.args, **kwargs: P.kwargs) -> None:
        _run(settings_with_logs(quiet=True), lambda admin: command(admin, *args, **kwargs))

    return called


def with_transport(
    command: Callable[Concatenate[Settings, Transport, P], Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Return *command* for click; it is called with the settings and the transport, where the topology is declared.

    The store is opened, as by `with_store`, only if the transport is in it: RabbitMQ needs no store, nor its schema.

    Raises:
        ConfigurationError: A setting is wrong, or something in RabbitMQ has other arguments.
        Unavailable: RabbitMQ could not be reached, or the user may not declare the topology.
    """

    @functools.wraps(command)
    def called(*args: P.args, **kwargs: P.kwargs) -> None:
        settings = settings_with_logs(quiet=True)

        async def work(opened: AbstractAsyncContextManager[Transport]) -> None:
            async with opened as transport:
                await command(settings, transport, *args, **kwargs)

        if settings.transport_url == EMBEDDED:
            _run(settings, lambda admin: work(admin.transport()))
        else:
            run_async(work(_declared(lambda: open_rabbitmq(settings, declare_timeout=settings.confirm_timeout))))

    return called


def _run(settings: Settings, command: Callable[[Admin], Coroutine[Any, Any, None]]) -> None:
    async def work() -> None:
        async with Database(url, timeout=settings.store_timeout, size=4) as database:
            await ensure_schema(settings, database)
            await command(Admin(settings, database))

    with store_url(settings, create=False) as url:
        run_async(work())


@asynccontextmanager
async def _declared(opening: Callable[[], AbstractAsyncContextManager[Transport]]) -> AsyncIterator[Transport]:
    async with opening() as transport:  # in the event loop
        await transport.declare(TOPOLOGY)
        yield transport


async def ensure_schema(settings: Settings, database: Database) -> None:
    """Check that the schema is not older than this version; that of an embedded store is brought up to date.

    Raises:
        ConfigurationError: It is older.
    """
    has = await revision(database)
    if has >= NEEDED:
        return
    if settings.store_url != EMBEDDED:
        raise ConfigurationError(
            f"the store's schema is at {has or 'nothing'} and this version needs {NEEDED}: run `signal-broker migrate`"
        )
    await migrate(database.url)
