"""Whose turn it is to have a password checked."""

from __future__ import annotations

import asyncio

from gateway.guesses import Turns


async def test_whoever_hangs_up_while_waiting_leaves_the_turn_to_the_next_one():
    turns, had, over = Turns(most=2), [], asyncio.Event()

    async def take(name):
        async with turns.turn(0) as has_turn:
            had.append((name, has_turn))
            await over.wait()

    tasks = [asyncio.create_task(take(name)) for name in "abc"]
    await asyncio.sleep(0)
    over.set()
    tasks[1].cancel()  # the first one ends before the second one's task notices that
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(1), turns.turn(0) as has_turn:
        assert has_turn
    assert had == [("a", True), ("c", True)]


async def test_whoever_hung_up_needs_no_refusal():
    turns, over = Turns(most=1), asyncio.Event()

    async def take(rank):
        async with turns.turn(rank) as has_turn:
            await over.wait()
            return has_turn

    first, gone = [asyncio.create_task(take(rank)) for rank in (0, 9)]
    await asyncio.sleep(0)
    better = asyncio.create_task(take(1))
    gone.cancel()
    await asyncio.sleep(0)
    over.set()
    answers = await asyncio.gather(first, gone, better, return_exceptions=True)
    assert (answers[0], answers[2]) == (True, True)
