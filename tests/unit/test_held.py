"""What a recorder reports of the messages that it holds."""

import asyncio

import pytest

from tests.support.eventually import eventually
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

    def __init__(self, lost=float("-inf")):
        self.lost = lost

    def unsettled(self, _):
        return [7, 8]

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
