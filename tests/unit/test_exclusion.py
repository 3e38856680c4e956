"""Tasks that work on one key take turns; others do not wait."""

from __future__ import annotations

import asyncio

from workers.exclusion import Exclusion


async def test_tasks_with_one_key_take_turns_and_others_do_not_wait():
    exclusion, inside, most = Exclusion(), 0, 0

    async def work():
        nonlocal inside, most
        async with exclusion.hold("a"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async with exclusion.hold("a"):
        tasks = [asyncio.create_task(work()) for _ in range(5)]
        async with exclusion.hold("b"):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
    await asyncio.gather(*tasks)
    assert most == 1


async def test_a_task_that_fails_or_is_cancelled_lets_the_next_one_in():
    exclusion = Exclusion()

    async def hang():
        async with exclusion.hold("a"):
            await asyncio.Event().wait()

    holding, waiting = asyncio.create_task(hang()), asyncio.create_task(hang())
    await asyncio.sleep(0)
    for task in (waiting, holding):
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(1), exclusion.hold("a"):
        pass
