"""One stack for all chaos tests of the session: every test leaves it as it found it, or has found a defect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.chaos.postgres import Postgres, crashable_postgres
from tests.chaos.stack import ROLES, Stack, make_rng, stack_of
from tests.support.rabbitmq import Rabbit
from tests.support.receiver import receiver


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL that only the stack uses."""
    with crashable_postgres(tmp_path_factory.mktemp("pg")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    postgres: Postgres, rabbitmq: Rabbit, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """Two gateways and one of each worker, on PostgreSQL and RabbitMQ."""
    with rabbitmq.vhost() as url:
        environment = {"STORE_URL": postgres.url, "TRANSPORT_URL": url}
        directory = tmp_path_factory.mktemp("stack")
        async with receiver() as webhooks, stack_of(ROLES, environment, directory, webhooks, make_rng()) as stack:
            yield stack
