"""A gateway in the event loop of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from broker.health import Health
from broker.secrets import SecretBox
from broker.settings import Settings
from broker.store.postgres.database import Database
from broker.topology import TOPOLOGY
from broker.transport.embedded import EmbeddedTransport
from gateway.app import DIALECTS, gateway_app
from gateway.server import Runner
from tests.support.product import ADMIN_TOKEN, SECRET_KEY, Client, client_of


@asynccontextmanager
async def gateway(database_url: str) -> AsyncIterator[tuple[Client, Health]]:
    """Yield a client of a gateway in this event loop, and what says how that one is."""
    settings = Settings(admin_token=ADMIN_TOKEN, egress_allow=("127.0.0.0/8",))
    async with Database(database_url) as database, EmbeddedTransport(database) as transport:
        await transport.declare(TOPOLOGY)
        async with (
            Health(database, transport) as health,
            gateway_app(database, transport, SecretBox([SECRET_KEY]), settings, health) as app,
        ):
            runner = Runner(app, DIALECTS, access_log=None, auto_decompress=False)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                async with client_of(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
                    yield client, health
            finally:
                await runner.cleanup()
