"""The look-up of subscriptions finds all that a signal matches, and reads no others."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.matching import Matcher
from broker.names import is_pattern, pattern_key
from broker.signals import Scope, Throw
from broker.store.rows import read_subscription
from broker.store.subscriptions.candidates import NEEDED_TO_RECORD, find_candidates
from broker.subscriptions import SubscriptionSpec
from tests.support.builders import QUEUE, accept

PATHS, FIND, _ = NEEDED_TO_RECORD
WORDS = st.lists(st.sampled_from(["a", "b", "*", "#", "", "Ä", "\\"]), min_size=1, max_size=14).map(".".join)
TENANTS = (None, "acme", "beta")
EXECUTIONS = (None, "order-1")
NAMES = ("order.paid", "order.*", "#.paid", "*.paid.#", "#", "other", "*.other.#", "order.paid.#")
THROWS = [
    *(Throw(name=name) for name in ("order.paid", "other", "order.paid.late", "order.*")),
    *(Throw(name="order.paid", audience=audience) for audience in ((), ("acme",), ("acme", "acme", "beta"))),
    *(Throw(name="order.paid", scope=Scope.TENANT, tenant_id=tenant) for tenant in ("acme", "beta", "nobody")),
    Throw(name="order.paid", scope=Scope.TENANT, tenant_id="acme", audience=("beta",)),
    Throw(name="order.paid", scope=Scope.UNTENANTED),
    Throw(name="order.paid", scope=Scope.UNTENANTED, audience=("acme",)),
    Throw(name="order.paid", scope=Scope.EXECUTION, execution_id="order-1"),
    Throw(name="order.paid", scope=Scope.EXECUTION, execution_id="order-1", audience=("acme",)),
    Throw(name="order.paid", scope=Scope.EXECUTION, execution_id="order-2"),
]


@pytest.mark.slow
@given(names=st.lists(WORDS, min_size=1, max_size=30))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_store_has_the_same_keys_of_patterns(database, *, names):
    rows = await database.fetch("SELECT pattern_key(name) AS key FROM unnest($1::text[]) AS n (name)", names)
    assert [row["key"] for row in rows] == [pattern_key(name) if is_pattern(name) else None for name in names]


@pytest.fixture
def find(database):
    async def find(*signals):
        matcher = Matcher()
        async with matcher.slice() as turn:
            return await find_candidates(database, signals, turn, matcher=matcher)

    return find


@pytest.mark.slow
async def test_what_is_found_is_all_that_the_signals_match(database, subscriptions, find):
    """Subscriptions of every kind, of which some end between the signals and their recording."""
    everything = [
        await subscriptions.create(
            SubscriptionSpec(name=name, targets=(QUEUE,), tenant_id=tenant, execution_id=execution), secret=None
        )
        for name, tenant, execution in product(NAMES, TENANTS, EXECUTIONS)
    ]
    for gone in everything[::5]:
        await subscriptions.delete(gone.id)
    signals = await accept(database, *THROWS)
    for gone in everything[1::5]:
        await subscriptions.delete(gone.id)
    await database.execute("UPDATE subscriptions SET disabled_because = 'gone' WHERE id % 5 = 3")
    await database.execute("UPDATE subscriptions SET consumed_by = 1 WHERE id % 5 = 4")
    now = [read_subscription(row) for row in await database.fetch("SELECT * FROM subscriptions ORDER BY id")]
    matching = 0
    together = await find(*signals)
    for signal in signals:
        expected = [subscription.id for subscription in now if subscription.unfit(signal) is None]
        for found in (together, await find(signal)):
            fit = [subscription.id for subscription in found.of(signal) if subscription.unfit(signal) is None]
            assert sorted(fit) == expected, signal
        matching += len(expected)
    assert matching > 50


OTHERS = {
    "executions": "'sig', NULL, 'execution-' || i, NULL",
    "tenants": "'sig', 'tenant-' || i, NULL, NULL",
    "names": "'sig.' || i, NULL, NULL, NULL",
    "beginnings": "'other.' || i || '.#', NULL, NULL, NULL",
    "ends": "'*.x' || i, NULL, NULL, NULL",
    "middles": "'shop.*.x' || i || '.*', NULL, NULL, NULL",
    "filters": '\'sig\', NULL, NULL, \'{"id": {"operator": "IN", "values": ["\' || i || \'"]}}\'',
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
async def test_subscriptions_that_do_not_match_are_not_read(kind, database, find):
    """Whatever PostgreSQL knows of the table: statistics are missing first, and say later that all are of one name."""
    await database.execute(
        f"""
        INSERT INTO subscriptions
            (name, is_pattern, tenant_id, execution_id, filter, once, kind, address, headers, schedule, since)
        SELECT name, name ~ '[*#]', tenant_id, execution_id, filter::json, false, 'queue', 'q', '[]', '{{}}', 1
        FROM (SELECT {OTHERS[kind]} FROM generate_series(1, 5000) AS i) AS s (name, tenant_id, execution_id, filter)
        """
    )
    signals = await accept(
        database,
        Throw(name="sig", scope=Scope.EXECUTION, execution_id="execution-1"),
        Throw(name="sig", scope=Scope.TENANT, tenant_id="tenant-1"),
        *([Throw(name="sig", payload=b'{"id": 7}')] if kind == "filters" else []),
        *(Throw(name=f"shop.x.y.y{i}") for i in range(20)),
    )
    for statistics in ("missing", "there"):
        assert len((await find(*signals)).versions) <= 1
        for statement in (PATHS, FIND):
            async with database.transaction() as session:
                await session.execute("SET LOCAL plan_cache_mode = force_generic_plan")
                await session.execute(f"PREPARE one AS {statement.sql}")
                nulls = ", ".join("NULL" for _ in statement.parameters)
                lines = await session.fetch(f"EXPLAIN EXECUTE one ({nulls})")
                await session.execute("DEALLOCATE one")
            plan = "\n".join(line[0] for line in lines)
            assert "Seq Scan on subscriptions" not in plan, f"statistics are {statistics}\n{plan}"
        await database.execute("ANALYZE subscriptions")
