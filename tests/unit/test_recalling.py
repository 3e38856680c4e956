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

    async def find(self, _, *, limit, after_id):
        keys = sorted(key for key in self.contenders if key > after_id)[:limit]
        return {key: self.contenders[key] for key in keys}

    async def recall(self, limits):
        self.recalled += limits
        return Recalled((), frozenset())


class Places:
    """Has a place for one at a time, but for none of *full*."""

    def __init__(self, full=frozenset()):
        self.full = full
        self.put_off = {}

    def take_surplus(self):
        put_off, self.put_off = self.put_off, {}
        return put_off

    def rooms(self, _, routes):
        rooms = [int(route.subscription_id not in self.full) for route in routes]
        return rooms, min(1, sum(rooms))

    def spare(self, _):
        return 1


class Routes:
    async def of(self, key, *, fresh):  # noqa: ARG002
        return Route(None, (), key)


def recall_of(store, places=None):
    return Recall(
        None,
        store,
        places=places or Places(),
        routes=Routes(),
        fast_lane=FastLane(10),
        queues=[ATTEMPT],
        settings=Settings(),
    )


async def test_all_have_their_turns_before_anyone_has_a_second_one():
    store = Store({number: Contender("", ("many",)) for number in range(1, 21)} | {99: Contender("", ("one",))})
    recall = recall_of(store)
    for _ in range(40):
        await recall.recall()
    assert store.recalled.count(99) == 20, "tenants take turns"
    assert {store.recalled.count(number) for number in range(1, 21)} == {1}


async def test_many_whose_hosts_have_no_room_do_not_use_up_the_turns_of_others():
    full = range(1, 2001)
    store = Store({number: Contender("", None) for number in (*full, 5000, 5001)})
    recall = recall_of(store, Places(frozenset(full)))
    for _ in range(20):
        await recall.recall()
    assert store.recalled.count(5000) >= 2
    assert store.recalled.count(5001) >= 2


async def test_what_was_just_put_off_takes_turns_at_once():
    store, places = Store({}), Places()
    recall = recall_of(store, places)
    assert await recall.recall() == 0
    places.put_off = {7: Contender("", None)}
    await recall.recall()
    assert store.recalled == [7]
