"""What a recorder reports of the messages that it holds."""

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

    def unsettled(self, _):
        return [7, 8]


@pytest.mark.parametrize(("set_aside", "stuck"), [(0, False), (1, True)])
async def test_what_is_tried_again_and_again_is_stuck(set_aside, stuck):
    """The oldest message may be another one each time: they are returned, and come again."""
    books = Books()
    async with reporting_held(Unsettled(), books, set_aside=lambda: set_aside, proof=lambda: 5):
        assert await eventually(lambda: books.report) == (2, stuck, 5)
    assert books.report is None
