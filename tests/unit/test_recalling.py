"""Whose surplus is recalled when there are places for few."""

from broker.settings import Settings
from broker.store.deliveries.contenders import Contender
from broker.store.deliveries.surplus import Recalled, Route
from broker.topology import ATTEMPT
from workers.lanes import FastLane
from workers.recalling import Recall


class Store:
    """Has surplus of these subscriptions, and remembers whose was recalled."""

    def __init__(self, contenders):
        self.contenders = contenders
        self.recalled = []

    async def find(self, _):
        return dict(self.contenders)

    async def recall(self, limits):
        self.recalled += limits
        return Recalled((), frozenset())


class Places:
    """Has a place for one at a time."""

    def __init__(self):
        self.surplus = {}

    def rooms(self, _, routes):
        return [1 for _ in routes], 1

    def spare(self, _):
        return 1


class Routes:
    async def of(self, key, *, fresh):  # noqa: ARG002
        return Route(None, (), key)


async def test_all_have_their_turns_before_anyone_has_a_second_one():
    store = Store({number: Contender("", ("many",)) for number in range(20)} | {99: Contender("", ("one",))})
    recall = Recall(
        None,
        store,
        places=Places(),
        routes=Routes(),
        fast_lane=FastLane(10),
        queues=[ATTEMPT],
        settings=Settings(),
    )
    for _ in range(40):
        await recall.recall()
    assert store.recalled.count(99) == 20, "tenants take turns"
    assert {store.recalled.count(number) for number in range(20)} == {1}
