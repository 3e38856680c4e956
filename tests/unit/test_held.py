"""What a recorder reports of the messages that it holds."""

import asyncio
import itertools
from datetime import timedelta

import pytest

from tests.support.eventually import eventually
from workers import held
from workers.held import reporting_held


class Books:
    """Remembers the last report."""

    report = None

    async def report_held(self, _, held, *, stuck, proof):
        self.report = held, stuck, proof

    async def forget_recorder(self, _):
        self.report = None


class Unsettled:
    """Stands for a transport: the tags of the messages that are not settled."""

    def __init__(self, lost=float("-inf"), looks=itertools.repeat((7, 8))):  # noqa: B008  (it has no state)
        self.lost = lost
        self.looks = looks

    def unsettled(self, _):
        return next(self.looks)

    def lost_at(self, _):
        return asyncio.get_running_loop().time() + self.lost


@pytest.mark.parametrize(("lost", "stuck"), [(-76, False), (-70, True)])
async def test_what_a_server_may_keep_for_a_lost_consumer_is_stuck(lost, stuck):
    books = Books()
    async with reporting_held(Unsettled(lost), books, set_aside=lambda: 0, proof=lambda: 5):
        assert await eventually(lambda: books.report) == (2, stuck, 5)


@pytest.mark.parametrize(("set_aside", "stuck"), [(0, False), (1, True)])
async def test_what_is_tried_again_and_again_is_stuck(set_aside, stuck):
    """The oldest message may be another one each time: they are returned, and come again."""
    books = Books()
    async with reporting_held(Unsettled(), books, set_aside=lambda: set_aside, proof=lambda: 5):
        assert await eventually(lambda: books.report) == (2, stuck, 5)
    assert books.report is None


async def test_what_one_shard_has_held_for_long_is_stuck_while_messages_of_others_pass(monkeypatch):
    monkeypatch.setattr(held, "_EVERY", 0.01)
    monkeypatch.setattr(held, "HELD_LONG", timedelta(seconds=0.1))
    books, looks = Books(), ((passing, 7) for passing in itertools.count(8))
    async with reporting_held(Unsettled(looks=looks), books, set_aside=lambda: 0, proof=lambda: 5):
        assert await eventually(lambda: books.report) == (2, False, 5)
        await eventually(lambda: books.report == (2, True, 5))


async def test_messages_that_pass_are_not_stuck_however_many(monkeypatch):
    monkeypatch.setattr(held, "_EVERY", 0.01)
    monkeypatch.setattr(held, "HELD_LONG", timedelta(seconds=0.02))
    reports, passing = set(), itertools.count()
    books, looks = Books(), ((-number, number) for number in passing)
    async with reporting_held(Unsettled(looks=looks), books, set_aside=lambda: 0, proof=lambda: 5):
        while next(passing) < 100:
            reports.add(await eventually(lambda: books.report))
            await asyncio.sleep(0.01)
    assert reports == {(2, False, 5)}
