"""The plans of what every attempt carries out: kept by PostgreSQL, and right for a partition that has just begun."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from broker.deliveries import DeliveryState, DueAttempt, Outcome, Result
from broker.store.deliveries import attempts, handing
from broker.store.deliveries.attempts import AttemptRequest, Ended, begin, end
from tests.support.builders import RESCUE_AFTER

STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}: {name}": getattr(module._Sql, name)  # noqa: SLF001  (its plan matters)
    for module, names in ((attempts, ("begin", "finish")), (handing, ("hand_on",)))
    for name in names
}
SECOND = timedelta(seconds=1)
LARGE = re.compile(r"Seq Scan on (signals|deliveries|attempts|subscriptions|circuits)")


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
async def test_a_plan_that_is_kept_reads_nothing_from_end_to_end(database, statement):
    async with database.session() as session:
        await session.execute("SET plan_cache_mode = force_generic_plan")
        try:
            await session.execute(f"PREPARE kept AS {statement.sql}")
            nothing = ", ".join(["NULL"] * len(statement.parameters))
            plan = [row["QUERY PLAN"] for row in await session.fetch(f"EXPLAIN EXECUTE kept ({nothing})")]
        finally:
            await session.execute("DEALLOCATE kept")
            await session.execute("RESET plan_cache_mode")
    assert not LARGE.search("\n".join(plan)), "\n".join(plan)


@pytest.mark.slow
async def test_postgresql_keeps_the_plans_of_attempts(database, subscription, history):
    """Else each is planned anew, over all partitions."""
    dues = [DueAttempt((await history.throw()).id, subscription.id, 1) for _ in range(12)]
    async with database.session() as session:
        for due in dues:
            asked = [AttemptRequest(due, redelivered=False, room=1000)]
            assert all(await begin(session, asked, timeout=SECOND, rescue_after=SECOND, admitted=False, by=None))
            await end(session, [delivered(due)])
        rows = await session.fetch("SELECT statement, generic_plans FROM pg_prepared_statements")
    kept = {row["statement"]: row["generic_plans"] for row in rows}
    assert [kept[STATEMENTS[name].sql] for name in ("attempts: begin", "attempts: finish")] == [7, 7]


@pytest.mark.parametrize(
    ("timeout", "is_hot"), [(RESCUE_AFTER / 2, True), (RESCUE_AFTER, False)], ids=["soon rescued", "later"]
)
async def test_beginning_an_attempt_changes_no_index_unless_the_rescue_has_to_wait(
    database, subscription, history, timeout, is_hot
):
    due = DueAttempt((await history.throw()).id, subscription.id, 1)
    asked = [AttemptRequest(due, redelivered=False, room=1000)]
    async with database.transaction() as session:
        assert all(await begin(session, asked, timeout=timeout, rescue_after=RESCUE_AFTER, admitted=False, by=None))
        updates = await session.fetchrow(
            "SELECT sum(n_tup_upd) AS updated, sum(n_tup_hot_upd) AS hot FROM pg_stat_xact_user_tables"
            " WHERE relname LIKE 'deliveries%'"
        )
        rescue = await session.fetchval("SELECT max(due_at) - now() FROM deliveries WHERE begun_at IS NOT NULL")
    assert (updates["updated"], updates["hot"]) == (1, is_hot)
    assert rescue >= timeout + RESCUE_AFTER / 3


def delivered(due):
    return Ended(
        due=due,
        result=Result(outcome=Outcome.SUCCEEDED),
        state=DeliveryState.DELIVERED,
        pause=None,
        started_at=datetime.now(UTC),
        duration=SECOND,
    )
