"""What is large waits for room in memory, in turn."""

from __future__ import annotations

import asyncio

import pytest

from broker.budgets import Budget


async def taking(budget, *sizes):
    """Return a task for each of *sizes* that takes it; all had a chance to."""
    tasks = []
    for size in sizes:
        tasks.append(asyncio.create_task(budget.take(size)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def done(tasks):
    return [task.done() for task in tasks]


async def settle():
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_fits_is_given_at_once_and_what_does_not_waits():
    budget = Budget(100)
    tasks = await taking(budget, 60, 40, 1)
    assert done(tasks) == [True, True, False]
    budget.give_back(40)
    await settle()
    assert done(tasks) == [True, True, True]


async def test_first_come_first_served():
    """A small one does not overtake a large one, which could wait for ever."""
    budget = Budget(100)
    tasks = await taking(budget, 60, 90, 10)
    assert done(tasks) == [True, False, False]
    budget.give_back(60)
    await settle()
    assert done(tasks) == [True, True, True]


async def test_more_than_the_total_passes_alone():
    budget = Budget(100)
    tasks = await taking(budget, 10, 500, 1)
    assert done(tasks) == [True, False, False]
    budget.give_back(10)
    await settle()
    assert done(tasks) == [True, True, False]
    budget.give_back(500)
    await settle()
    assert done(tasks) == [True, True, True]


async def test_whoever_gives_up_waiting_holds_up_nobody_and_keeps_nothing():
    budget = Budget(100)
    tasks = await taking(budget, 60, 90, 10)
    tasks[1].cancel()
    await settle()
    assert done(tasks) == [True, True, True]
    budget.give_back(60)
    budget.give_back(10)
    assert done(await taking(budget, 100)) == [True]


async def test_bytes_given_at_the_moment_of_giving_up_are_not_lost():
    budget = Budget(100)
    tasks = await taking(budget, 100, 90)
    budget.give_back(100)
    tasks[1].cancel()
    await settle()
    assert tasks[1].cancelled()
    assert done(await taking(budget, 100)) == [True]


async def test_room_is_given_back_whatever_happens_in_it():
    budget = Budget(100)
    with pytest.raises(ValueError, match="within"):
        async with budget.room(100):
            raise ValueError("within")
    assert done(await taking(budget, 100)) == [True]


async def test_too_many_are_not_let_wait():
    budget = Budget(100, most_waiting=1)
    await taking(budget, 100, 1)
    with pytest.raises(TimeoutError):
        await budget.take(1)


async def growing(budget, held, size):
    task = asyncio.create_task(budget.take(size, held=held))
    await settle()
    return task


async def test_who_has_some_gets_more_before_those_who_have_none():
    budget = Budget(100)
    await taking(budget, 50, 50)
    [newcomer] = await taking(budget, 10)
    task = await growing(budget, 50, 30)
    budget.give_back(50)
    await settle()
    assert done([task, newcomer]) == [True, True]
    assert not (await growing(budget, 80, 20)).done()


async def test_if_all_who_have_some_wait_for_more_the_first_one_gets_it():
    """Nothing would ever be given back."""
    budget = Budget(100)
    await taking(budget, 40, 40)
    [newcomer] = await taking(budget, 30)
    first = await growing(budget, 40, 30)
    assert not first.done()
    second = await growing(budget, 40, 40)
    assert done([first, second, newcomer]) == [True, False, False]
    budget.give_back(70)
    await settle()
    assert done([second, newcomer]) == [True, False]
    budget.give_back(80)
    await settle()
    assert newcomer.done()


async def test_a_grower_that_gives_up_lets_the_others_go_on():
    budget = Budget(100)
    await taking(budget, 50, 50)
    (await growing(budget, 50, 10)).cancel()
    await settle()
    second = await growing(budget, 50, 10)
    assert not second.done()
    budget.give_back(50)
    await settle()
    assert second.done()


async def test_alone_one_may_grow_beyond_the_total():
    budget = Budget(100)
    await taking(budget, 100)
    assert (await growing(budget, 100, 100)).done()


async def test_what_is_there_already_is_counted_beyond_the_total():
    budget = Budget(10)
    await budget.take(8)
    budget.overdraw(12)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(budget.take(1), 0.01)
    budget.give_back(12)
    await asyncio.wait_for(budget.take(2), 1)
