"""A process is ready only while each of its roles could do its work, and is ready again by itself."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from broker import health as health_module
from broker.health import Health
from broker.operations.acceptance import Acceptance
from broker.operations.intake import open_intake
from broker.settings import Settings
from broker.signals import Throw
from broker.store.deliveries.presence import Presence
from broker.store.deliveries.surplus import SurplusStore
from broker.store.postgres.database import Database
from broker.store.postgres.schema import NEEDED
from broker.store.signals.intake_books import IntakeBooks
from broker.store.signals.signals import SignalStore
from broker.store.signals.suspects import SuspectStore
from broker.streaks import Streak
from broker.topology import RECORD, TOPOLOGY
from broker.transport.embedded import EmbeddedTransport
from broker.transport.rabbitmq import RabbitTransport
from tests.support.attempts import attempt_store
from tests.support.eventually import eventually
from tests.support.rabbitmq import on_channel
from tests.support.rabbitmq_users import permit, rights, user
from tests.support.roles import LOCKOUTS, role_of
from workers.deliverer import Deliverer
from workers.recorder import Recorder

pytestmark = pytest.mark.slow

OFTEN = timedelta(milliseconds=50)
SOON = 10
"""Seconds within which a process is ready again."""


@asynccontextmanager
async def looking(database, transport, **checks):
    """Yield the health of a started process that makes *checks*."""
    async with Health(database, transport, every=OFTEN) as health:
        for name, check in checks.items():
            health.require(name, check)
        await health.start()
        yield health


@pytest.fixture
async def role(database_url, postgres_url):
    """Return a role of PostgreSQL that may do everything in this test's own database."""
    async with role_of(database_url, postgres_url) as role:
        yield role


@asynccontextmanager
async def revoked(database, what):
    """Take a privilege from the owner, and so from every role that is no superuser."""
    await database.execute(f"REVOKE {what} FROM CURRENT_USER")
    try:
        yield
    finally:
        await database.execute(f"GRANT {what} TO CURRENT_USER")


def gateway(database, transport):
    return Acceptance(database, transport, Streak()).check


def recorder(database, transport):
    return Recorder(transport, SignalStore(database), IntakeBooks(database), SuspectStore(database), Settings()).check


def deliverer(database, transport):
    surplus = SurplusStore(database, Presence(database), rescue_after=timedelta(seconds=30))
    return Deliverer(transport, attempt_store(database), surplus, {}, Settings(), concurrency=1, waiting=1).check


NEEDS = {
    gateway: [
        "USAGE, UPDATE ON SEQUENCE signal_ids",
        "INSERT ON idempotency_keys",
        "INSERT ON expected_signals",
        "SELECT ON tokens",
        "SELECT ON users",
        "SELECT ON endpoints",
        "INSERT ON transport.messages",
    ],
    recorder: [
        "USAGE, UPDATE ON SEQUENCE signal_positions",
        "INSERT ON signals",
        "INSERT ON matches",
        "INSERT ON deliveries",
        "SELECT ON subscriptions",
        "DELETE ON expected_signals",
    ],
    deliverer: ["UPDATE ON deliveries", "INSERT ON attempts", "SELECT ON signals"],
}


@pytest.mark.parametrize("part", NEEDS)
async def test_without_a_privilege_that_it_needs_a_role_is_not_ready(database, role, part):
    async with Database(role.url()) as limited, EmbeddedTransport(limited) as transport:
        await transport.declare(TOPOLOGY)
        async with looking(limited, transport, part=part(limited, transport)) as health:
            for privilege in NEEDS[part]:
                async with revoked(database, privilege):
                    await eventually(lambda: not health.checks()["part"])
                    assert health.checks()["store"], privilege
                await eventually(lambda: health.ready, within=SOON)


@pytest.mark.parametrize("part", NEEDS)
async def test_on_a_database_that_is_read_only_a_role_is_not_ready(role, rabbitmq_url, part):
    async with Database(role.url()) as limited, RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
        async with looking(limited, transport, part=part(limited, transport)) as health:
            async with LOCKOUTS["25006 read-only"](role):
                await eventually(lambda: not health.checks()["part"])
            await role.disconnect()
            await eventually(lambda: health.ready, within=SOON)


async def test_on_a_schema_that_lacks_a_step_no_process_is_ready(database):
    async with EmbeddedTransport(database) as transport, looking(database, transport) as health:
        await database.execute("DELETE FROM schema_steps WHERE step = $1", NEEDED)
        await eventually(lambda: not health.checks()["schema"])
        assert health.checks()["store"]
        await database.execute("INSERT INTO schema_steps (step) VALUES ($1)", NEEDED)
        await eventually(lambda: health.ready, within=SOON)


@asynccontextmanager
async def gateway_of(rabbitmq, rabbitmq_url, database):
    """Yield (URL of its user, its health) of a gateway that may configure nothing; the topology is there."""
    async with RabbitTransport(rabbitmq_url) as administrator:
        await administrator.declare(TOPOLOGY)
    async with user(rabbitmq, rabbitmq_url, "gateway") as url, RabbitTransport(url) as transport:
        await transport.declare(TOPOLOGY)
        async with looking(database, transport, intake=gateway(database, transport)) as health:
            yield url, health


async def test_a_gateway_that_cannot_publish_to_the_record_queue_is_not_ready(rabbitmq, rabbitmq_url, database):
    """It may not publish to queues by name; or the queue is missing, and it may not create it."""
    async with gateway_of(rabbitmq, rabbitmq_url, database) as (url, health):
        configure, _, read = rights("gateway")
        await permit(rabbitmq, url, configure, "^signals", read)
        await asyncio.to_thread(rabbitmq.close_connections)  # channels remember what is permitted
        await eventually(lambda: not health.checks()["intake"])
        await permit(rabbitmq, url, *rights("gateway"))
        await eventually(lambda: health.ready, within=SOON)

        await on_channel(rabbitmq_url, lambda channel: channel.queue_delete(RECORD))
        await eventually(lambda: not health.checks()["intake"])
        assert health.transport.ready
        async with RabbitTransport(rabbitmq_url) as administrator:
            await administrator.declare(TOPOLOGY)
        await eventually(lambda: health.ready, within=SOON)


async def test_a_gateway_whose_throws_are_refused_for_a_while_is_not_ready(rabbitmq, rabbitmq_url, database, name):
    """Nothing but a throw finds out that the record queue takes no message."""
    settings = Settings(confirm_timeout_seconds=0.5)
    async with (
        RabbitTransport(rabbitmq_url) as transport,
        open_intake(database, transport, settings) as intake,
    ):
        await transport.declare(TOPOLOGY)
        check = Acceptance(database, transport, intake.outcomes).check
        async with looking(database, transport, intake=check) as health:
            await asyncio.to_thread(
                rabbitmq.set_policy, rabbitmq_url, "full", RECORD, {"max-length-bytes": 1, "overflow": "reject-publish"}
            )

            async def is_not_ready():
                await asyncio.gather(intake.accept(Throw(name=name)), return_exceptions=True)
                return not health.checks()["intake"]

            await eventually(is_not_ready)
            await asyncio.to_thread(rabbitmq.clear_policy, rabbitmq_url, "full")

            async def is_ready():
                await asyncio.gather(intake.accept(Throw(name=name)), return_exceptions=True)
                return health.ready

            await eventually(is_ready, within=SOON)


async def test_a_check_that_is_slow_is_not_begun_again(monkeypatch, database):
    """On a busy machine it would never end, and the process never be ready."""
    monkeypatch.setattr(health_module, "_TIMEOUT", OFTEN)
    asked, answer = [], asyncio.Event()

    async def check():
        asked.append(None)
        await answer.wait()

    async with EmbeddedTransport(database) as transport, Health(database, transport, every=OFTEN) as health:
        health.require("slow", check)
        starting = asyncio.create_task(health.start())
        await eventually(lambda: asked)
        await asyncio.sleep(4 * OFTEN.total_seconds())  # its time passes, and more than that
        assert not health.ready
        assert len(asked) == 1
        answer.set()
        await starting
        assert health.ready
