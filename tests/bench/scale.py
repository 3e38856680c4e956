"""How fast signals are accepted and recorded beside many subscriptions that they do not match."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta

from broker.store.postgres.database import Database
from tests.bench.bodies import BATCH_SIZE
from tests.bench.load import Order, post
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Group, Row, Sample
from tests.bench.stack import recorded, running
from tests.bench.usage import measuring, without_gateway
from tests.support.product import ADMIN_TOKEN, Client

SIZES = (10, 1000, 100_000)
BACKLOG_PER_SECOND = 1500
"""How large a backlog is, for each second that a load lasts."""
MOST_SECONDS, FAR_TOO_LONG = 20.0, 600.0
"""After which a recorder is measured by what it has recorded until then."""
CONNECTIONS = 4
NAME = "bench.sig"
TARGET = "'{1,2}', 'webhook', 'https://host-' || i % 500 || '.example/hook', '{}'"

KINDS = {
    "executions": f"'{NAME}', NULL, 'execution-' || i, NULL, NULL",
    "tenants": f"'{NAME}', 'tenant-' || i, NULL, NULL, NULL",
    "names": "'bench.other.' || i, NULL, NULL, NULL, NULL",
    "beginnings": "'tenant' || i || '.#', NULL, NULL, NULL, NULL",
    "ends": "CASE WHEN i % 2 = 0 THEN '*.x' ELSE '#.y' END || i, NULL, NULL, NULL, NULL",
    "filters": f"""'{NAME}', NULL, NULL, '{{"order.id": {{"operator": "IN", "values": ["o-' || i || '"]}}}}', NULL""",
    "lists": f"""'{NAME}', NULL, NULL, '{{"total": {{"operator": "NUM_GT", "value": "10"}}, "order.id": '
        '{{"operator": "IN", "values": ["a-' || i || '", "b-' || i || '", "c-' || i % 9 || '"]}}}}', NULL""",
    "comparisons": f"""'{NAME}', NULL, NULL,
        '{{"total": {{"operator": "NUM_GT", "value": "' || 100 + i || '"}}}}', NULL""",
    "bounds": f"""'{NAME}', NULL, NULL, '{{"total": [{{"operator": "NUM_GTE", "value": "' || 100 + i || '"}}, '
        '{{"operator": "NUM_LT", "value": "' || 101 + i || '"}}]}}', NULL""",
    "moments": f"""'{NAME}', NULL, NULL,
        '{{"at": {{"operator": "DATE_BEFORE", "value": "' || date '2020-01-01' - i % 7000 || '"}}}}', NULL""",
    "deleted": f"'{NAME}', NULL, NULL, NULL, 2",
}
"""By the kind of subscriptions: the name, tenant, execution, filter and number of deletion of number ``i``."""

AUDIENCES = {"executions": {"executionId": "execution-1"}, "tenants": {"tenantId": "tenant-1"}}
"""Whom the signals are for, if not for all: one of these subscriptions gets them."""

_INSERT = """
INSERT INTO subscriptions
    (name, is_pattern, tenant_id, execution_id, filter, until, once, schedule, kind, address, headers, since)
SELECT name, name ~ '[*#]', tenant_id, execution_id, filter::json, until::bigint, false, {target}, 1
FROM (SELECT i, {columns} FROM generate_series(1, $1::int) AS i) AS s (i, name, tenant_id, execution_id, filter, until)
"""


def signal_for(kind: str, number: int = 0) -> dict[str, object]:
    """Return a throw beside subscriptions of a *kind*; each *number* is about another order."""
    payload = {"order": {"id": f"none-{number}"}, "total": 42, "at": "2026-01-01", "text": "x" * 500}
    return {"name": NAME, "payload": payload, **AUDIENCES.get(kind, {})}


async def measure(bench: Bench) -> AsyncIterator[Sample]:
    """Measure each kind in turn, from the fewest subscriptions on."""
    for _ in range(bench.rounds):
        for kind in KINDS:
            for size in SIZES:
                if bench.wants(f"scale.{kind}.{size}"):
                    async for sample in beside(bench, kind, size):
                        yield sample


async def beside(bench: Bench, kind: str, size: int) -> AsyncIterator[Sample]:
    """Accept signals, and then record them, beside *size* subscriptions of a *kind*."""
    row, count = f"scale.{kind}.{size}", int(BACKLOG_PER_SECOND * bench.seconds)
    async with running(bench) as stack:
        async with Database(stack.environment["STORE_URL"], timeout=timedelta(minutes=10), size=1) as database:
            await database.execute(_INSERT.format(columns=KINDS[kind], target=TARGET), size)
            await database.execute("SELECT setval('signal_ids', 10)")
            await database.execute("VACUUM ANALYZE")
        single = Order(
            url=f"{stack.client.url}/v1/signals",
            body=json.dumps(signal_for(kind)),
            token=ADMIN_TOKEN,
            connections=CONNECTIONS,
            seconds=bench.seconds,
        )
        answers = await post(single)
        yield Sample(row=f"{row}.accepted", value=answers.per_second)
        await throw(stack.client, kind, count)
        count += answers.answered
        async with stack.worker("recorder"):
            first, start = await recorded(stack.client), time.perf_counter()
            with measuring(without_gateway(stack.pids)) as usage:
                last = await record_for_a_while(stack.client, first, count)
                elapsed = time.perf_counter() - start
            made = last - first
            yield Sample(row=f"{row}.recorded", value=made / elapsed, cpu=usage.per(made))


async def throw(client: Client, kind: str, count: int) -> None:
    """Throw so many signals beside subscriptions of a *kind*."""
    for start in range(0, count, BATCH_SIZE):
        signals = [signal_for(kind, number) for number in range(start, start + BATCH_SIZE)]
        await client.post("/v1/signals/batch", {"signals": signals}, expect=200)


async def record_for_a_while(client: Client, first: int, count: int) -> int:
    """Return how many signals are recorded when that are *count*, or after `MOST_SECONDS`; some more than *first*.

    Raises:
        TimeoutError: None was recorded for far too long.
    """
    begun = time.perf_counter()
    while (last := await recorded(client)) < count:
        elapsed = time.perf_counter() - begun
        if elapsed > MOST_SECONDS and last > first:
            break
        if elapsed > FAR_TOO_LONG:
            raise TimeoutError(f"no signal was recorded within {FAR_TOO_LONG:g} s")
        await asyncio.sleep(0.005)
    return last


GROUP = Group(
    name="scale",
    title="Beside many subscriptions that signals do not match",
    needs=frozenset({RABBITMQ, POSTGRESQL}),
    rows=[
        Row(
            name=f"scale.{kind}.{size}.{name}",
            what=f"{kind}, {size:,}: {what}",
            unit="signals/s",
            baseline=None if size == SIZES[0] else f"scale.{kind}.{SIZES[0]}.{name}",
            target=None if size == SIZES[0] else ">= 0.8",
        )
        for kind in KINDS
        for size in SIZES
        for name, what in (
            ("accepted", f"accepted over {CONNECTIONS} connections"),
            ("recorded", "recorded from a backlog"),
        )
    ],
    measure=measure,
    apart=True,
)
