"""Sweeps: rows that are refused do not hold up the others, nor do steps that fail."""

from __future__ import annotations

import pytest

from broker.errors import StoreRefusal, StoreUnavailable
from broker.store.postgres.database import DataError
from workers.sweeping import Rows, Step


class Table:
    """Rows by number, some of which are refused."""

    def __init__(self, count, *refused, error=None):
        self.rows = list(range(count))
        self.refused = set(refused)
        self.error = error or StoreRefusal("no", "23514")
        self.asked = 0

    async def handle(self, limit, offset):
        self.asked += 1
        taken = self.rows[offset : offset + limit]
        if self.refused & set(taken):
            raise self.error
        del self.rows[offset : offset + limit]
        return len(taken)


@pytest.mark.parametrize("refused", [(0,), (999,), (3, 4, 500), tuple(range(9))])
@pytest.mark.parametrize("error", [StoreRefusal("no", "23514"), DataError("no")])
async def test_rows_that_are_refused_do_not_hold_up_the_others(refused, error):
    table, rows = Table(1000, *refused, error=error), Rows("test")
    assert await rows.take(table.handle, 1000) == 1000 - len(refused)
    assert table.rows == list(refused)
    asked = table.asked
    assert await rows.take(table.handle, 1000) == 0
    assert table.asked == asked + 1, "they are passed over for a while"


async def test_without_refused_rows_all_are_taken_at_once():
    table, rows = Table(1500), Rows("test")
    assert await rows.take(table.handle, 1000) == 1000
    assert await rows.take(table.handle, 1000) == 500
    assert table.asked == 2


async def test_if_all_are_refused_that_is_an_error_and_costs_little():
    table, rows = Table(1000, *range(1000)), Rows("test")
    for _ in range(3):
        with pytest.raises(StoreRefusal):
            await rows.take(table.handle, 1000)
    assert table.asked < 70


async def test_more_refused_rows_than_one_sweep_finds_are_passed_over_by_the_next_ones():
    table, rows = Table(100, *range(35)), Rows("test")
    for _ in range(3):
        with pytest.raises(StoreRefusal):
            await rows.take(table.handle, 100)
    assert await rows.take(table.handle, 100) == 65


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("away"),
        StoreRefusal("too many connections", "53300"),
        StoreRefusal("read-only", "25006"),
        StoreRefusal("no login", "28000"),
        StoreRefusal("no database", "3D000"),
    ],
)
async def test_without_the_store_nothing_is_divided(error):
    table, rows = Table(10, 0, error=error), Rows("test")
    with pytest.raises(StoreUnavailable):
        await rows.take(table.handle, 10)
    assert table.asked == 1
    table.refused.clear()
    assert await rows.take(table.handle, 10) == 10, "none is passed over"


async def test_a_step_that_fails_pauses_and_one_that_is_full_goes_on():
    answers = [5, ValueError("no"), 2]

    async def do():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    step = Step("test", do, full=5, pause=60)
    assert await step.take()
    with pytest.raises(ValueError, match="no"):
        await step.take()
    assert step.failing
    assert not await step.take()
    assert answers == [2]


async def test_a_step_is_taken_again_after_a_while_or_at_once_if_there_may_be_more():
    done, taken = [5, 5, 2, 0], []

    async def do():
        taken.append(done.pop(0))
        return taken[-1]

    step = Step("test", do, full=5, every=60, pause=0)
    assert [await step.take() for _ in range(5)] == [True, True, False, False, False]
    assert taken == [5, 5, 2]
