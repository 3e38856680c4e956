"""A product on RabbitMQ without a deliverer, for tests that start and end their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.postgres import PostgresServer, fresh_database
from tests.support.product import Process
from tests.support.rabbitmq_servers import Rabbit


@dataclass(frozen=True)
class Stack:
    """What `without_deliverer` yields."""

    gateway: Process
    environment: dict[str, str]

    def deliverer(self, directory: Path, **environment: str) -> Process:
        """Return a deliverer, not yet started."""
        return Process("worker", "deliverer", environment=self.environment | environment, log=directory / "log")


@asynccontextmanager
async def without_deliverer(postgres: PostgresServer, rabbit: Rabbit, directory: Path) -> AsyncIterator[Stack]:
    """Run a gateway, a recorder and a scheduler until the context is left."""
    with rabbit.vhost() as transport_url:
        async with fresh_database(postgres) as store_url:
            environment = {"STORE_URL": store_url, "TRANSPORT_URL": transport_url}
            async with (
                Process("gateway", environment=environment, log=directory / "gateway") as gateway,
                Process("worker", "recorder", "scheduler", environment=environment, log=directory / "worker"),
            ):
                yield Stack(gateway, environment)
