import asyncio
import gc
import weakref
from datetime import timedelta

import pytest

from broker.coalescing import Coalescer
from broker.errors import StoreRefusal, StoreUnavailable


class Recorder:
    """Notes its batches; the first one waits until it is let go."""

    def __init__(self):
        self.batches = []
        self.go = asyncio.Event()

    async def __call__(self, items):
        self.batches.append(items)
        if len(self.batches) == 1:
            await self.go.wait()
        if "bad" in items:
            raise ValueError("bad batch")
        return [item.upper() for item in items]


async def submit_behind_a_busy_batch(coalescer, recorder, items):
    first = asyncio.create_task(coalescer.submit("first"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(coalescer.submit(item)) for item in items]
    await asyncio.sleep(0)
    recorder.go.set()
    return first, tasks


async def test_whoever_arrives_during_a_batch_shares_the_next_one():
    recorder = Recorder()
    async with Coalescer(recorder) as coalescer:
        first, tasks = await submit_behind_a_busy_batch(coalescer, recorder, ["a", "b", "c"])
        assert await asyncio.gather(first, *tasks) == ["FIRST", "A", "B", "C"]
    assert recorder.batches == [["first"], ["a", "b", "c"]]


async def test_a_batch_is_never_larger_than_its_limit():
    recorder = Recorder()
    async with Coalescer(recorder, max_batch=2) as coalescer:
        first, tasks = await submit_behind_a_busy_batch(coalescer, recorder, ["a", "b", "c"])
        await asyncio.gather(first, *tasks)
    assert recorder.batches == [["first"], ["a", "b"], ["c"]]


async def test_an_error_reaches_every_caller_of_its_batch_and_no_other():
    recorder = Recorder()
    async with Coalescer(recorder) as coalescer:
        first, tasks = await submit_behind_a_busy_batch(coalescer, recorder, ["a", "bad"])
        assert await first == "FIRST"
        for task in tasks:
            with pytest.raises(ValueError, match="bad batch"):
                await task
        assert await coalescer.submit("later") == "LATER"


async def test_a_caller_that_gives_up_is_left_out_and_the_others_are_served():
    recorder = Recorder()
    async with Coalescer(recorder) as coalescer:
        _, (gone, stays) = await submit_behind_a_busy_batch(coalescer, recorder, ["gone", "stays"])
        gone.cancel()
        assert await stays == "STAYS"
    assert recorder.batches == [["first"], ["stays"]]


async def test_closing_cancels_those_who_wait():
    recorder = Recorder()
    async with Coalescer(recorder) as coalescer:
        waiting = asyncio.create_task(coalescer.submit("first"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_caller_waits_no_longer_than_it_said_even_behind_a_batch_that_hangs():
    recorder = Recorder()
    async with Coalescer(recorder) as coalescer:
        first = asyncio.create_task(coalescer.submit("first"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await coalescer.submit("second", timeout=timedelta(seconds=0.01))
        recorder.go.set()
        assert await first == "FIRST"
    assert recorder.batches == [["first"]]


async def test_a_batch_has_500_items_at_most_unless_told_otherwise():
    recorder = Recorder()
    async with Coalescer(recorder) as coalescer:
        first, tasks = await submit_behind_a_busy_batch(coalescer, recorder, ["x"] * 501)
        await asyncio.gather(first, *tasks)
    assert list(map(len, recorder.batches)) == [1, 500, 1]


async def test_results_that_are_not_as_many_as_the_items_fail_every_caller():
    async def forgetful(items):
        return items[1:]

    async with Coalescer(forgetful) as coalescer:
        tasks = [asyncio.create_task(coalescer.submit(item)) for item in ("a", "b")]
        for task in tasks:
            with pytest.raises(ValueError, match="shorter"):
                await task


async def test_a_batch_has_a_most_weight_and_what_is_heavier_is_a_batch_of_its_own():
    recorder = Recorder()
    async with Coalescer(recorder, weigh=len, max_weight=4) as coalescer:
        first, tasks = await submit_behind_a_busy_batch(coalescer, recorder, ["aa", "bb", "c", "dddddd", "e"])
        await asyncio.gather(first, *tasks)
    assert recorder.batches == [["first"], ["aa", "bb"], ["c"], ["dddddd"], ["e"]]


class Table:
    """Refuses batches with certain items, and counts them all."""

    def __init__(self, *refused, error=None):
        self.refused = set(refused)
        self.error = error or StoreRefusal("no", "23514")
        self.batches = []

    async def __call__(self, items):
        self.batches.append(items)
        if self.refused & set(items):
            raise self.error
        return items


@pytest.mark.parametrize("refused", [(0,), (99,), (3, 4), (10, 50, 90)])
async def test_an_item_that_is_refused_costs_the_others_of_its_batch_nothing(refused):
    table = Table(*refused)
    async with Coalescer(table) as coalescer:
        results = await asyncio.gather(*map(coalescer.submit, range(100)), return_exceptions=True)
    assert results == [table.error if item in refused else item for item in range(100)]


async def test_if_all_items_are_refused_few_batches_come_of_it():
    table = Table(*range(500))
    async with Coalescer(table) as coalescer:
        results = await asyncio.gather(*map(coalescer.submit, range(500)), return_exceptions=True)
    assert results == [table.error] * 500
    assert len(table.batches) < 70


async def test_without_the_store_no_batch_is_divided():
    table = Table(1, error=StoreUnavailable("away"))
    async with Coalescer(table) as coalescer:
        results = await asyncio.gather(*map(coalescer.submit, range(10)), return_exceptions=True)
    assert results == [table.error] * 10
    assert len(table.batches) == 1


class Large:
    """An item that takes much memory."""


@pytest.mark.parametrize("refused", [True, False])
async def test_an_item_that_failed_is_not_kept_until_garbage_is_collected(refused):
    async def fail(_items):
        if refused:
            raise StoreUnavailable("away")
        await asyncio.Event().wait()

    gc.collect()
    gc.disable()
    try:
        async with Coalescer(fail) as coalescer:
            item = Large()
            kept = weakref.ref(item)
            with pytest.raises((StoreUnavailable, TimeoutError)):
                await coalescer.submit(item, timeout=timedelta(seconds=0.05))
            del item
        await asyncio.sleep(0)  # the turn of the event loop that raised it has the error until it ends
        assert kept() is None
    finally:
        gc.enable()
