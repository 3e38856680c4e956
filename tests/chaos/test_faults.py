"""What a 2xx promised is kept whatever is killed, restarted or crashed under load.

Every test is the same experiment with another fault; see `tests.support.books` for what is compared. Some webhooks are
refused at first, so that deliveries are parked and released meanwhile.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.errors import StoreUnavailable
from broker.signals import Throw
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import WebhookTarget
from tests.chaos.experiment import survive
from tests.chaos.faults.postgres import crash, suspend
from tests.chaos.faults.processes import kill, replace
from tests.chaos.faults.rabbitmq import kill_node, restart_node
from tests.chaos.stack import ROLES

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest.mark.parametrize("role", ["gateway", "recorder", "deliverer", "scheduler"])
async def test_a_killed_process_loses_nothing(stack, role):
    outcome = await survive(stack, kill(role), kill(role), refusals=20)
    assert not outcome.violations
    assert outcome.books.refused == 0
    assert outcome.books.unanswered == 0 or role == "gateway"


async def test_a_rolling_restart_refuses_nobody(stack):
    outcome = await survive(stack, *map(replace, ROLES), refusals=20)
    assert not outcome.violations
    assert not outcome.books.failed
    assert outcome.books.repeats["webhook"] <= 10


async def test_a_restart_of_rabbitmq_loses_nothing(stack):
    outcome = await survive(stack, restart_node(), refusals=20)
    assert not outcome.violations
    assert outcome.books.unanswered == 0


async def test_a_killed_rabbitmq_loses_nothing(stack):
    outcome = await survive(stack, kill_node(), refusals=20)
    assert not outcome.violations
    assert outcome.books.unanswered == 0


async def test_a_crash_of_postgresql_loses_nothing(stack):
    outcome = await survive(stack, crash(), crash(), refusals=20)
    assert not outcome.violations
    assert outcome.books.unanswered == 0


async def test_a_postgresql_that_hangs_lets_nobody_wait(stack):
    """Longer than two deadlines, because requests that queued up for each other would wait for both."""
    outcome = await survive(stack, suspend(seconds=11), refusals=20)
    assert not outcome.violations
    assert outcome.books.unanswered == 0


async def test_a_number_that_was_handed_out_is_not_handed_out_again_after_a_crash(postgres):
    """A reused number would make the recorder take the second signal for a repeat of the first."""

    async def number(database):
        try:
            (numbered,) = await SignalStore(database).number([(Throw(name="a"), None)])
        except StoreUnavailable:
            return 0
        return numbered.id

    async with Database(postgres.url) as database, Database(postgres.url, timeout=timedelta(seconds=0.5)) as hasty:
        # The next number is the one that PostgreSQL logs, with all that follow.
        while await database.fetchval("SELECT log_cnt FROM signal_ids"):
            await number(database)
        async with database.dedicated_session() as session:
            spec = SubscriptionSpec(name="a", targets=(WebhookTarget(url="http://a"),))
            await session.execute("BEGIN")
            await SubscriptionStore(session).create(spec, secret=None)
            before = await number(hasty)
            postgres.crash()
            postgres.start()
    async with Database(postgres.url) as database:
        assert await number(database) > before
