"""Commands beside the store and the transport: a gateway for the time of the command, on a Unix socket of its own.

It is for operators who set up a product, or mend one that does not run: nothing but the settings is needed.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web

from broker.access import API_TOKEN
from broker.errors import ConfigurationError
from broker.health import Health
from broker.secrets import SecretBox, make_key
from broker.settings import Settings
from broker.shards import ShardFollower
from broker.store.postgres.database import Database
from broker.topology import TOPOLOGY
from deploy.cli.admin import ensure_schema
from deploy.cli.backends import EMBEDDED, allow_loopback, open_secrets, open_transport, require_named_store, store_url
from deploy.cli.loop import run_async
from deploy.cli.products import Product
from gateway.app import DIALECTS, gateway_app
from gateway.server import Runner

HOST = "http://signal-broker"
"""Stands for the socket in URLs."""


def run_beside(
    settings: Settings, work: Callable[[Product], Awaitable[None]], *, declare: bool = False, seals: bool = False
) -> None:
    """Run *work* with a gateway on the store and the transport in *settings*.

    Args:
        settings: What to open. An embedded store that does not run is started meanwhile.
        work: What to do.
        declare: Whether the topology has to be there.
        seals: Whether secrets may be sealed or opened.

    Raises:
        ConfigurationError: A setting is wrong, there is no embedded store, or the store's schema is too old.
        StoreUnavailable: PostgreSQL did not answer.
        Unavailable: The topology could not be declared.
    """
    require_named_store(settings)
    if settings.store_url == EMBEDDED:
        settings = allow_loopback(settings)  # as `signal-broker run` does

    async def served(url: str) -> None:
        async with _serve(settings, url, declare=declare, seals=seals) as product:
            await work(product)

    with store_url(settings, create=False) as url:
        run_async(served(url))


@asynccontextmanager
async def _serve(settings: Settings, url: str, *, declare: bool, seals: bool) -> AsyncIterator[Product]:
    token = API_TOKEN + secrets.token_urlsafe(32)
    async with Database(url, timeout=settings.store_timeout, size=4) as database:
        await ensure_schema(settings, database)
        box = _open_secrets(settings, seals=seals)
        async with open_transport(settings, database, declare_timeout=settings.confirm_timeout) as transport:
            if declare:
                await transport.declare(TOPOLOGY)
            await ShardFollower(database, transport, declare=False).look()
            health = Health(database, transport)  # not entered: no probe calls it
            async with gateway_app(database, transport, box, settings, health, local_token=token) as app:
                runner = Runner(app, DIALECTS, access_log=None, auto_decompress=False)
                await runner.setup()
                try:
                    with TemporaryDirectory(prefix="signal-broker-") as directory:  # for this user alone
                        socket = Path(directory) / "socket"
                        await web.UnixSite(runner, str(socket)).start()
                        yield Product(HOST, token, local=True, socket=socket)
                finally:
                    await runner.cleanup()


def _open_secrets(settings: Settings, *, seals: bool) -> SecretBox:
    """Return the key ring; commands that seal and open nothing do without one."""
    try:
        return open_secrets(settings)
    except ConfigurationError:
        if seals:
            raise
        return SecretBox([make_key()])
