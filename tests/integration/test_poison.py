"""What can make a message poison, and what cannot: only the message itself, never a fault of what it needs."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from broker.errors import StoreRefusal, StoreTimeout, StoreUnavailable, Unconfirmed
from broker.messages import signal_message
from broker.settings import Settings
from broker.store.postgres.database import Database
from broker.store.signals.intake_books import IntakeBooks
from broker.store.signals.signals import SignalStore
from broker.store.signals.suspects import SuspectStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import SubscriptionSpec
from broker.topology import RECORD, dead_letters
from broker.transport import Settlement
from tests.support.builders import QUEUE, accept
from tests.support.eventually import eventually
from tests.support.messaging import holds
from tests.support.roles import role_of
from workers.consumer import Consumer
from workers.quarantine import FAILURES
from workers.recorder import Recorder

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=30)


class Watched:
    """A handler that notes what another one was given, by the names of the signals.

    Args:
        handle: The other one; it may raise.
    """

    def __init__(self, handle):
        self._handle = handle
        self.sizes = []
        self.failures = 0
        self.alone = Counter()
        self.redelivered = 0

    async def __call__(self, messages):
        self.sizes.append(len(messages))
        self.redelivered += any(message.redelivered for message in messages)
        if len(messages) == 1:
            self.alone[messages[0].type] += 1
        try:
            return await self._handle(messages)
        except Exception:
            self.failures += 1
            raise


class Bench:
    """A record queue, and what is recorded of it."""

    def __init__(self, transport, database):
        self.transport = transport
        self.database = database
        self.recorder = Recorder(
            transport, SignalStore(database), IntakeBooks(database), SuspectStore(database), Settings()
        )

    async def put(self, *names):
        """Put accepted signals of these names into the record queue."""
        await asyncio.gather(
            *(
                self.transport.publish(signal_message(signal), exchange="", routing_key=RECORD, timeout=SOON)
                for signal in await accept(self.database, *names)
            )
        )

    @asynccontextmanager
    async def consuming(self, handle, *, batch=250, concurrency=2, hold=timedelta(minutes=2)):
        """Consume the record queue with *handle* while the block runs."""
        limits = {"batch": batch, "concurrency": concurrency, "hold": hold}
        consumer = Consumer(self.transport, RECORD, handle, **limits, pause=timedelta(seconds=0.05))
        stopping = asyncio.Event()
        running = asyncio.create_task(consumer.run(stopping, drain=SOON))
        try:
            yield consumer
        finally:
            stopping.set()
            await running

    async def reach(self, *, recorded):
        """Wait until so many signals are recorded."""

        async def check():
            return recorded == await self.database.fetchval("SELECT count(*) FROM signals")

        await eventually(check)

    async def dead(self):
        return await self.transport.depth(dead_letters(RECORD), timeout=SOON)


@pytest.fixture
def bench(transport, database):
    return Bench(transport, database)


async def test_a_wrong_password_kills_no_signal(bench, database_url, postgres_url):
    await bench.put(*["a"] * 300)
    async with role_of(database_url, postgres_url) as role, Database(role.url("wrong")) as refused:
        handle = Watched(
            Recorder(
                bench.transport, SignalStore(refused), IntakeBooks(refused), SuspectStore(refused), Settings()
            ).handle
        )
        async with bench.consuming(handle):
            await eventually(lambda: handle.failures > 8)
            assert await bench.dead() == 0
            await role.server.execute(f"ALTER ROLE {role.name} PASSWORD 'wrong'")
            await bench.reach(recorded=300)
    await holds(bench.transport, RECORD, 0)
    assert await bench.dead() == 0


async def test_a_signal_that_postgresql_refuses_fails_alone_again_and_again_while_the_others_pass(bench):
    await bench.database.execute("ALTER TABLE signals DROP CONSTRAINT signals_state_check")
    await bench.database.execute("ALTER TABLE signals ADD CONSTRAINT signals_state_check CHECK (name <> 'poison')")
    await bench.put(*["a"] * 100, "poison", *["a"] * 100)
    handle = Watched(bench.recorder.handle)
    async with bench.consuming(handle) as consumer:
        await eventually(lambda: consumer.set_aside)
        await bench.reach(recorded=200)
        assert await bench.dead() == 0
        await holds(bench.transport, dead_letters(RECORD), 1)
        await eventually(lambda: not consumer.set_aside)
    assert handle.alone["poison"] == 8
    assert len(handle.sizes) < 60
    await holds(bench.transport, RECORD, 0)


async def test_a_signal_that_meets_an_unexpected_error_is_treated_likewise(bench):
    async def break_at(messages):
        if any(message.type == "odd" for message in messages):
            raise KeyError("steps")
        return await bench.recorder.handle(messages)

    await bench.put("odd", *["a"] * 20)
    handle = Watched(break_at)
    async with bench.consuming(handle, batch=1, concurrency=3):
        await bench.reach(recorded=20)
        await holds(bench.transport, dead_letters(RECORD), 1)
    assert handle.alone["odd"] == 8


async def test_a_fault_that_only_looks_like_the_datas_kills_no_signal(bench):
    """As when a newer schema has a column that this version does not fill."""
    await bench.database.execute("ALTER TABLE signals ADD COLUMN newer integer NOT NULL")
    await bench.put(*[f"a.{number}" for number in range(300)])
    handle = Watched(bench.recorder.handle)
    async with bench.consuming(handle):
        await eventually(lambda: max(handle.alone.values(), default=0) > 10)
        assert await bench.dead() == 0
        await bench.database.execute("ALTER TABLE signals DROP COLUMN newer")
        await bench.reach(recorded=300)
    assert await bench.dead() == 0


ADDITIONS = {
    "a column": ("ADD COLUMN newer integer NOT NULL", "DROP COLUMN newer"),
    "a check": ("ADD CONSTRAINT newer CHECK (attempts > 9)", "DROP CONSTRAINT newer"),
    "a key": ("ADD CONSTRAINT newer FOREIGN KEY (attempts) REFERENCES webhook_keys (id)", "DROP CONSTRAINT newer"),
}


@pytest.mark.parametrize(("addition", "matched"), [("a column", 25), ("a column", 1), ("a check", 1), ("a key", 1)])
async def test_nor_does_one_that_only_some_signals_meet(bench, addition, matched):
    """Others pass all the time, which shows nothing."""
    add, drop = ADDITIONS[addition]
    await SubscriptionStore(bench.database).create(SubscriptionSpec(name="matched.#", targets=(QUEUE,)), secret=None)
    await bench.database.execute(f"ALTER TABLE deliveries {add}")
    await bench.put(*[name for number in range(matched) for name in (f"matched.{number}", "other")])
    handle, others = Watched(bench.recorder.handle), matched
    async with bench.consuming(handle):
        await bench.reach(recorded=others)
        while max(handle.alone[f"matched.{number}"] for number in range(matched)) <= FAILURES:
            await bench.put("other")
            others += 1
            await bench.reach(recorded=others)
        assert await bench.dead() == 0
        await bench.database.execute(f"ALTER TABLE deliveries {drop}")
        await bench.reach(recorded=others + matched)
    assert await bench.dead() == 0


async def test_a_batch_that_takes_too_long_is_halved_until_it_passes(bench):
    async def take_time(messages):
        if len(messages) > 20:
            raise StoreTimeout("too long")
        return [Settlement.ACK] * len(messages)

    await bench.put(*["a"] * 100)
    await holds(bench.transport, RECORD, 100)
    handle = Watched(take_time)
    async with bench.consuming(handle, batch=100, concurrency=1):
        await eventually(lambda: sum(size for size in handle.sizes if size <= 20) == 100)
    await holds(bench.transport, RECORD, 0)
    assert len(handle.sizes) < 20


async def test_few_of_those_that_were_set_aside_are_tried_at_the_same_time(bench):
    """Or the others would get nothing of what the store can do."""
    under_way, seen = 0, []

    async def fail(messages):
        nonlocal under_way
        under_way += 1
        seen.append(under_way)
        await asyncio.sleep(0.2)
        under_way -= 1
        raise StoreTimeout("too long")

    await bench.put(*["a"] * 10)
    async with bench.consuming(fail, batch=1, concurrency=20) as consumer:
        await eventually(lambda: consumer.set_aside == 10)
        seen.clear()
        await eventually(lambda: len(seen) > 20)
    assert max(seen) == 4


async def test_a_signal_that_the_store_cannot_take_is_not_in_the_way_of_others_and_not_poison(bench):
    passed = []

    async def refuse_one(messages):
        if any(message.type == "large" for message in messages):
            raise StoreRefusal("program limit exceeded", "54000")
        passed.extend(messages)
        return [Settlement.ACK] * len(messages)

    await bench.put("large", *["a"] * 20)
    handle = Watched(refuse_one)
    async with bench.consuming(handle, batch=50, concurrency=1):
        await eventually(lambda: len(passed) == 20)
        await eventually(lambda: handle.alone["large"] > 10)
    assert await bench.dead() == 0
    await holds(bench.transport, RECORD, 1)


@pytest.mark.parametrize("error", [StoreUnavailable("connection was closed"), Unconfirmed("no confirm")])
async def test_a_signal_that_costs_its_batch_the_connection_is_not_in_the_way_of_others_and_not_poison(bench, error):
    passed = []

    async def lose_connection(messages):
        if any(message.type == "fatal" for message in messages):
            raise error
        passed.extend(messages)
        return [Settlement.ACK] * len(messages)

    await bench.put(*["a"] * 10, "fatal", *["a"] * 9)
    handle = Watched(lose_connection)
    async with bench.consuming(handle, batch=50, concurrency=1):
        await eventually(lambda: len(passed) == 19)
        await eventually(lambda: handle.alone["fatal"] > 3)
    assert await bench.dead() == 0
    await holds(bench.transport, RECORD, 1)


@pytest.mark.parametrize(
    "error", [Unconfirmed("no"), StoreRefusal("no", "28P01"), StoreTimeout("no"), ValueError("no")]
)
async def test_nothing_is_kept_for_long_and_what_is_returned_comes_again(bench, error):
    async def refuse(messages):
        raise error

    await bench.put(*["a"] * 10)
    handle = Watched(refuse)
    async with bench.consuming(handle, batch=5, concurrency=1, hold=timedelta(seconds=0.3)):
        await eventually(lambda: handle.redelivered)
    await holds(bench.transport, RECORD, 10)
    assert await bench.dead() == 0
