"""Long computations leave the event loop free, and take turns."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from broker.offloading import LARGE, Offloader


async def test_the_event_loop_runs_while_a_large_input_is_worked_on():
    heard = threading.Event()
    asyncio.get_running_loop().call_later(0.01, heard.set)

    assert await Offloader().run(lambda: heard.wait(10), size=LARGE + 1)


async def test_what_is_small_is_computed_at_once():
    assert await Offloader().run(threading.current_thread, size=LARGE) is threading.main_thread()
    assert await Offloader().run(threading.current_thread, size=LARGE + 1) is not threading.main_thread()


@pytest.mark.slow
async def test_large_inputs_are_worked_on_one_after_the_other():
    offloader, begun, most = Offloader(), 0, 0
    turn = threading.Lock()

    def work():
        nonlocal begun, most
        with turn:
            begun += 1
            most = max(most, begun)
        gc.collect()
        with turn:
            begun -= 1

    await asyncio.gather(*(offloader.run(work, size=LARGE + 1) for _ in range(10)))

    assert most == 1


async def test_an_error_is_raised_and_the_next_one_gets_its_turn():
    offloader = Offloader()

    def fail():
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await offloader.run(fail, size=LARGE + 1)
    assert await offloader.run(lambda: 1, size=LARGE + 1) == 1


async def test_the_collector_rests_only_meanwhile():
    assert await Offloader().run(gc.isenabled, size=LARGE + 1) is False
    assert gc.isenabled()
