"""PostgreSQL keeps the plans of what every signal takes: planning takes longer than carrying it out."""

from __future__ import annotations

import pytest

from broker.signals import Scope, Throw
from broker.store.postgres.database import Database
from broker.store.signals import recording, signals
from broker.store.signals.signals import IdempotencyKey, SignalStore
from tests.support.builders import record

_PLANNED = 5
"""How often PostgreSQL plans a statement before it compares that with a plan that it would keep."""
_TIMES = 12


@pytest.fixture
async def session_database(database_url):
    """A database with one session, so that everything is planned there."""
    async with Database(database_url, size=1) as database:
        yield database


@pytest.mark.parametrize("together", [1, 3, 40])
async def test_the_plan_of_numbering_is_kept_however_many_throws_come_together(session_database, together):
    store = SignalStore(session_database)
    for number in range(_TIMES):
        keys = [IdempotencyKey(principal="p", key=f"{number} {one}", body_hash=b"1") for one in range(together)]
        await store.number([(Throw(name="a"), key if one % 2 else None) for one, key in enumerate(keys)])
    assert await kept(session_database, signals._Sql.number) == _TIMES - _PLANNED  # noqa: SLF001


async def test_the_plan_of_numbering_is_kept_while_batches_grow_and_shrink(session_database):
    store = SignalStore(session_database)
    for together in [1, 100, 1, 50, 2, 100] * 2:
        await store.number([(Throw(name="a"), None)] * together)
    assert await kept(session_database, signals._Sql.number) == _TIMES - _PLANNED  # noqa: SLF001


async def test_the_plan_of_numbering_is_kept_beside_throws_to_executions(session_database):
    store = SignalStore(session_database)
    to_execution = Throw(name="a", scope=Scope.EXECUTION, execution_id="e")
    for _ in range(_TIMES):
        first, second = await store.number([(to_execution, None), (Throw(name="a"), None)])
        (third,) = await store.number([(Throw(name="a"), None)])
        assert first.id < second.id < third.id
    assert await kept(session_database, signals._Sql.number) == 2 * _TIMES - _PLANNED  # noqa: SLF001


async def test_the_plan_of_recording_is_kept(session_database, subscription):
    store = SignalStore(session_database)
    for together in [1, 20] * (_TIMES // 2):
        numbered = await store.number([(Throw(name=subscription.spec.name), None)] * together)
        accepted = [
            signals.Signal(id=one.id, created_at=one.created_at, throw=Throw(name=subscription.spec.name))
            for one in numbered
        ]
        assert len(await record(session_database, *accepted)) == together
    assert await kept(session_database, recording._Sql.record_plain) == _TIMES - _PLANNED  # noqa: SLF001


async def kept(database, statement):
    """Return how often *statement* was carried out by a plan that was kept."""
    rows = await database.fetch("SELECT statement, generic_plans FROM pg_prepared_statements")
    return {row["statement"]: row["generic_plans"] for row in rows}[statement.sql]
