import asyncio

import pytest

from broker.quiet_routes import PROBE_EVERY, QuietRoutes
from tests.support.eventually import eventually


class Routes(QuietRoutes):
    """Notes what was published, as (item, mandatory), and dropped."""

    def __init__(self):
        self.published, self.dropped = [], []
        super().__init__(self._note, self.dropped.append)

    def _note(self, item, *, mandatory):
        self.published.append((item, mandatory))


@pytest.fixture
async def routes():
    return Routes()


async def make_quiet(routes):
    """Leave the route r quiet, after two items."""
    routes.send("r", 1)
    routes.send("r", 2)
    routes.take_unroutable("r", 2)
    assert routes.published == [(1, False), (2, True)]
    routes.published.clear()


async def test_only_what_follows_on_the_same_route_at_once_is_mandatory(routes):
    for item, route in enumerate("rssr"):
        routes.send(route, item)
    assert routes.published == [(0, False), (1, False), (2, True), (3, True)]
    routes.published.clear()
    await asyncio.sleep(PROBE_EVERY * 1.5)
    routes.send("r", 4)
    assert routes.published == [(4, False)]


async def test_a_busy_route_with_listeners_is_never_held_up(routes):
    for item in range(10):
        routes.send("r", item)
        routes.take_routed("r", item)
    assert [item for item, _ in routes.published] == [*range(10)]


async def test_by_a_quiet_route_one_item_is_published_of_those_that_came_meanwhile(routes):
    await make_quiet(routes)
    for item in range(3, 100):
        routes.send("r", item)
    assert routes.published == []
    await eventually(lambda: routes.published == [(3, True)])
    routes.send("r", 100)
    routes.take_unroutable("r", 3)
    assert routes.dropped == [*range(4, 100)]
    await eventually(lambda: routes.published == [(3, True), (100, True)])


async def test_once_a_probe_is_taken_what_waits_follows_in_its_order_and_nothing_waits_any_more(routes):
    await make_quiet(routes)
    for item in (3, 4, 5):
        routes.send("r", item)
    await eventually(lambda: routes.published)
    routes.send("r", 6)
    routes.take_routed("r", 3)
    routes.send("r", 7)
    assert [item for item, _ in routes.published] == [3, 4, 5, 6, 7]
    assert routes.dropped == []


async def test_answers_to_what_was_published_before_the_route_was_quiet_change_nothing(routes):
    routes.send("r", 0)
    for item in (1, 2, 3):
        routes.send("r", item)
    routes.take_unroutable("r", 1)
    routes.send("r", 4)
    routes.take_unroutable("r", 2)
    routes.take_routed("r", 3)
    routes.published.clear()
    await eventually(lambda: routes.published == [(4, True)])
    routes.take_unroutable("r", 4)
    assert routes.dropped == []


async def test_a_quiet_route_that_nobody_uses_is_forgotten(routes):
    await make_quiet(routes)
    await asyncio.sleep(PROBE_EVERY * 1.5)
    routes.send("r", 3)
    assert routes.published == [(3, False)]


async def test_routes_are_quiet_each_for_itself(routes):
    await make_quiet(routes)
    routes.send("s", 3)
    assert routes.published == [(3, False)]
