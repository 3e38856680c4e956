"""Whose surplus is recalled when there are places for few."""

import pytest

from broker.settings import Settings
from broker.store.deliveries.contenders import Contender
from broker.store.deliveries.surplus import Recalled, Route
from broker.topology import ATTEMPT
from workers.lanes import FastLane
from workers.recalling import Recall


class Store:
    """Has surplus of these subscriptions, and remembers whose was recalled."""

    def __init__(self, contenders, *, ends=False):
        self.contenders = contenders
        self.ends = ends
        self.recalled = []

    async def find(self, _, *, limit, after_id):
        keys = sorted(key for key in self.contenders if key > after_id)[:limit]
        return {key: self.contenders[key] for key in keys}

    async def recall(self, limits):
        """Each has one delivery if it is said to be done then."""
        self.recalled += limits
        done = frozenset(limits) if self.ends else frozenset()
        for key in done:
            del self.contenders[key]
        return Recalled((), done)


class Places:
    """Has *room* for so many at a time, but for none of *full*."""

    def __init__(self, full=frozenset(), *, room=1):
        self.full = full
        self.room = room
        self.put_off = {}

    def take_surplus(self):
        put_off, self.put_off = self.put_off, {}
        return put_off

    def rooms(self, _, routes):
        rooms = [int(route.subscription_id not in self.full) for route in routes]
        return rooms, min(self.room, sum(rooms))

    def spare(self, _):
        return self.room


class Routes:
    def __init__(self, hosts):
        self.hosts = hosts

    async def of(self, key, *, fresh):  # noqa: ARG002
        return Route(None, self.hosts, key)


def recall_of(store, places=None, *, hosts=()):
    return Recall(
        None,
        store,
        places=places or Places(),
        routes=Routes(hosts),
        fast_lane=FastLane(10),
        queues=[ATTEMPT],
        settings=Settings(),
    )


async def test_all_have_their_turns_before_most_have_a_second_one():
    store = Store({number: Contender("", ("many",)) for number in range(1, 21)} | {99: Contender("", ("one",))})
    recall = recall_of(store)
    for _ in range(54):
        await recall.recall()
    assert store.recalled.count(99) == 27, "tenants take turns"
    counts = [store.recalled.count(number) for number in range(1, 21)]
    assert min(counts) == 1, counts
    assert counts.count(1) >= 13, "one turn in four goes to a subscription that has had one"


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


@pytest.mark.parametrize("room", [1, 3, 8])
async def test_those_that_came_first_are_recalled_first_while_new_ones_keep_coming(room):
    """The host takes as many as come, so that there are always as many that wait."""
    store, places = Store({number: Contender("", None) for number in range(1, 51)}, ends=True), Places(room=room)
    recall = recall_of(store, places, hosts=("https://one",))
    for turn in range(50):
        await recall.recall()
        new = {1000 + turn * room + number: Contender("", None) for number in range(room)}
        store.contenders |= new
        places.put_off |= new
    assert set(range(1, 51)) <= set(store.recalled[:60])


async def test_more_than_are_looked_at_together_are_looked_at_in_parts(monkeypatch):
    monkeypatch.setattr("workers.recalling._MOST", 4)
    monkeypatch.setattr("workers.recalling._FIND_EVERY", 0.0)
    store = Store({number: Contender("", (str(number),)) for number in range(1, 11)})
    recall = recall_of(store, Places(frozenset(range(1, 10))))
    for _ in range(6):
        await recall.recall()
    assert 10 in store.recalled
