"""One stack for all chaos tests of a file: each leaves it as it found it, or has found a defect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.postgres import Postgres, crashable_postgres
from tests.chaos.stack import Stack, make_rng, rabbitmq_stack
from tests.support.rabbitmq_servers import Rabbit


@pytest.fixture(scope="module")
def postgres(servers: Path, request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """A PostgreSQL that only the stack uses."""
    with crashable_postgres(servers / request.path.stem) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(postgres: Postgres, rabbitmq: Rabbit, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Two gateways and one of each worker, on PostgreSQL and RabbitMQ."""
    async with rabbitmq_stack(postgres, [rabbitmq], tmp_path_factory.mktemp("stack"), make_rng()) as stack:
        yield stack
