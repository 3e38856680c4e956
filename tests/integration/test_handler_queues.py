"""The queue of an app whose worker is down, or that is not there: nobody else is held up, and nothing is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker import metrics
from broker.messages import signal_message
from broker.settings import Settings
from broker.store.administration.sessions import SessionStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.expiring import ExpiringStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.sweeping import SweepingStore
from broker.store.deliveries.trials import TrialStore
from broker.store.signals.intake_books import IntakeBooks
from broker.store.signals.signals import SignalStore
from broker.store.signals.suspects import SuspectStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.targets import HandlerTarget, QueueTarget
from broker.topology import ATTEMPT, app_topology, attempt_queue
from broker.transport import Received, Settlement
from deploy.cli.messaging_checks import examine_queues
from tests.support.builders import accept
from tests.support.messaging import holds
from tests.support.queues import declare
from workers.events import EventTeller
from workers.recorder import Recorder
from workers.scheduler import Scheduler

SOON = timedelta(seconds=10)
APP = attempt_queue("billing")
BOOK = SubscriptionSpec(name="sig", targets=(HandlerTarget(app="billing", handler="book"),))
ELSEWHERE = SubscriptionSpec(name="sig", targets=(QueueTarget(queue="elsewhere"),))


@pytest.fixture
def settings():
    """Return settings by which whatever was published is overdue at once."""
    return Settings(rescue_after_seconds=0.001)


@pytest.fixture
async def scheduler(transport, database, settings):
    return Scheduler(
        transport,
        deliveries=DeliveryStore(database),
        expiring=ExpiringStore(database),
        pausing=PausingStore(database),
        trials=TrialStore(database),
        ordering=OrderingStore(database),
        sweeping=SweepingStore(database),
        signals=SignalStore(database),
        sessions=SessionStore(database),
        events=EventTeller(database, transport, timeout=timedelta(seconds=5)),
        settings=settings,
    )


@pytest.fixture
def record(transport, database, settings):
    """Call it to let a recorder record so many signals of one batch, and return its settlements."""
    signals = SignalStore(database)

    async def record(count):
        messages = []
        for tag, signal in enumerate(await accept(database, *["sig"] * count)):
            message = signal_message(signal)
            fields = {name: getattr(message, name) for name in ("body", "headers", "type", "timestamp", "content_type")}
            messages.append(Received(**fields, tag=tag, redelivered=False))
        return await Recorder(transport, signals, IntakeBooks(database), SuspectStore(database), settings).handle(
            messages
        )

    return record


def left(queue):
    return metrics.REGISTRY.get_sample_value("signal_broker_deliveries_left_total", {"queue": queue}) or 0


@pytest.mark.slow
async def test_what_waits_for_a_worker_that_is_down_is_not_published_again(transport, database, scheduler, record):
    await transport.declare(app_topology("billing"))
    await SubscriptionStore(database).register(BOOK)
    await record(200)
    await holds(transport, APP, 200)
    assert await DeliveryStore(database).count_overdue(limit=1000) == {"billing": 200}
    for _ in range(5):
        assert await scheduler.rescue() == 0
    assert await transport.depth(APP, timeout=SOON) == 200


@pytest.mark.slow
async def test_what_was_lost_is_repaired_however_much_waits_for_somebody_else(transport, database, scheduler, record):
    await transport.declare(app_topology("billing"))
    subscriptions = SubscriptionStore(database)
    await subscriptions.register(BOOK)
    await record(50)
    await holds(transport, APP, 50)
    await subscriptions.create(ELSEWHERE, secret=None)
    await record(5)
    await holds(transport, ATTEMPT, 5)
    async with transport.consume(ATTEMPT, prefetch=10) as inbox:
        lost = []
        async with asyncio.timeout(10):
            while len(lost) < 5:
                lost += await inbox.receive(10)
        await inbox.settle(lost, Settlement.ACK)

    assert await scheduler.rescue() == 5
    await holds(transport, ATTEMPT, 5)
    assert await transport.depth(APP, timeout=SOON) == 55


@pytest.mark.slow
async def test_a_queue_that_is_not_there_holds_up_nobody_and_is_filled_once_it_is(
    transport, database, scheduler, record
):
    subscriptions = SubscriptionStore(database)
    await subscriptions.register(BOOK)
    await subscriptions.create(ELSEWHERE, secret=None)
    before = left(APP)

    assert await record(3) == [Settlement.ACK] * 3
    await holds(transport, ATTEMPT, 3)
    assert left(APP) - before == 3
    assert await scheduler.rescue() == 0, "nothing can be published there"

    await transport.declare(app_topology("billing"))
    assert await scheduler.rescue() == 3
    await holds(transport, APP, 3)
    assert left(APP) - before == 3


@pytest.mark.parametrize("transport", ["rabbitmq"], indirect=True)
async def test_an_app_s_queue_that_refuses_holds_up_nobody(transport, database, record, rabbitmq_url):
    full = {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}
    await declare(rabbitmq_url, f"deliveries={APP}", queue=APP, **full)
    subscriptions = SubscriptionStore(database)
    await subscriptions.register(BOOK)
    await subscriptions.create(ELSEWHERE, secret=None)
    before = left(APP)

    assert await record(5) == [Settlement.ACK] * 5
    await holds(transport, ATTEMPT, 5)
    assert left(APP) - before >= 1
    assert sum((await DeliveryStore(database).count_overdue(limit=100)).values()) == 10


@pytest.mark.slow
async def test_the_doctor_tells_of_apps_that_nobody_runs(transport, database, record):
    await SubscriptionStore(database).register(BOOK)

    async def told():
        examined = examine_queues(transport, DeliveryStore(database), IntakeBooks(database), ["billing"], SOON)
        return [finding.detail for finding in [one async for one in examined] if finding.level == "warn"]

    (missing,) = await told()
    assert "`signal-broker worker handlers` of that app declares it" in missing
    await transport.declare(app_topology("billing"))
    assert await told() == []
    await record(3)
    await holds(transport, APP, 3)
    cure = "Start one: `signal-broker worker handlers --app SOURCE:NAME`"
    question = "does a worker of that app run?"
    assert f"3 messages wait in {APP} and none is consumed: {question} {cure}" in await told()
