import asyncio

import pytest

from broker.quiet_routes import MOST_LOOKS, PROBE_EVERY, QuietRoutes
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
    """Leave the route r quiet; the item 1 waits."""
    routes.send("r", 1)
    routes.take_unroutable("r", 1)
    assert routes.published == [(1, True)]
    routes.published.clear()


async def test_of_many_routes_only_the_first_are_looked_at_and_those_that_are_used_again_at_once(routes):
    """What was returned costs more than what was dropped."""
    for route in range(MOST_LOOKS + 1):
        routes.send(route, route)
    assert [mandatory for _, mandatory in routes.published] == [True] * MOST_LOOKS + [False]
    routes.send(MOST_LOOKS, "again")
    assert routes.published.pop() == ("again", True)
    await asyncio.sleep(PROBE_EVERY * 1.5)
    routes.send(MOST_LOOKS, "later")
    assert routes.published.pop() == ("later", True)


async def test_a_busy_route_with_listeners_is_never_held_up(routes):
    for item in range(10):
        routes.send("r", item)
        routes.take_routed("r", item)
    assert [item for item, _ in routes.published] == [*range(10)]


async def test_by_a_quiet_route_one_item_is_published_of_those_that_came_meanwhile(routes):
    await make_quiet(routes)
    for item in range(2, 100):
        routes.send("r", item)
    assert routes.published == []
    await eventually(lambda: routes.published == [(1, True)])


async def test_an_item_is_dropped_only_once_another_one_is_returned_that_was_published_after_a_pause(routes):
    """Not all nodes of a cluster learn of a binding at the same moment."""
    await make_quiet(routes)
    routes.send("r", 2)
    await eventually(lambda: routes.published == [(1, True)])
    routes.send("r", 3)
    routes.take_unroutable("r", 1)
    assert routes.dropped == [1], "2 came right before the probe"
    await eventually(lambda: routes.published == [(1, True), (2, True)])
    routes.take_unroutable("r", 2)
    assert routes.dropped == [1, 2], "3 came after the previous probe"
    await eventually(lambda: routes.published == [(1, True), (2, True), (3, True)])
    routes.take_unroutable("r", 3)
    assert routes.dropped == [1, 2, 3]


async def test_what_was_returned_first_follows_once_a_queue_is_bound(routes):
    await make_quiet(routes)
    await eventually(lambda: routes.published == [(1, True)])
    routes.take_routed("r", 1)
    routes.send("r", 2)
    assert [item for item, _ in routes.published] == [1, 2]
    assert routes.dropped == []


async def test_once_a_probe_is_taken_what_waits_follows_in_its_order_and_nothing_waits_any_more(routes):
    await make_quiet(routes)
    for item in (2, 3, 4):
        routes.send("r", item)
    await eventually(lambda: routes.published)
    routes.send("r", 5)
    routes.take_routed("r", 1)
    routes.send("r", 6)
    assert [item for item, _ in routes.published] == [1, 2, 3, 4, 5, 6]
    assert routes.dropped == []


async def test_what_follows_waits_again_if_it_is_returned(routes):
    """A probe may have failed because its link was lost."""
    await make_quiet(routes)
    routes.send("r", 2)
    await eventually(lambda: routes.published == [(1, True)])
    routes.take_routed("r", 1)
    routes.take_unroutable("r", 2)
    routes.published.clear()
    await eventually(lambda: routes.published == [(2, True)])
    assert routes.dropped == []


async def test_whatever_is_returned_waits_also_if_it_was_published_before_the_route_was_quiet(routes):
    for item in (1, 2, 3):
        routes.send("r", item)
    routes.take_unroutable("r", 1)
    routes.send("r", 4)
    routes.take_unroutable("r", 2)
    routes.take_routed("r", 3)
    routes.published.clear()
    await eventually(lambda: routes.published == [(1, True)])
    assert routes.dropped == []
    routes.take_routed("r", 1)
    assert [item for item, _ in routes.published] == [1, 4, 2]


async def test_a_quiet_route_that_nobody_uses_is_forgotten(routes):
    await make_quiet(routes)
    await eventually(lambda: routes.published == [(1, True)])
    routes.take_unroutable("r", 1)
    await asyncio.sleep(PROBE_EVERY * 1.5)
    assert routes.send("r", 2)
    assert routes.published == [(1, True), (2, True)]


async def test_routes_are_quiet_each_for_itself(routes):
    await make_quiet(routes)
    assert not routes.send("r", 2)
    assert routes.send("s", 3)
    assert routes.published == [(3, True)]
