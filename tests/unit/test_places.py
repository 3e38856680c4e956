"""Who gets the places of a deliverer's lanes, and who is put off."""

import asyncio
from collections import Counter

import pytest

from broker.store.deliveries.contenders import Contender
from broker.store.deliveries.surplus import Route
from tests.support.clock import Clock
from workers.places import Place, Places, Turn

FAST, SLOW = "fast", "slow"


class Attempts:
    """Asks for places of 100-place lanes on behalf of routes, and keeps those that it gets.

    `got` counts the places, `turned` what became of the others; `slow` are the subscriptions that are known as slow.
    """

    def __init__(self, capacity=100, waiting=200, **options):
        self.clock = Clock()
        self.slow = set()
        self.places = Places(
            [FAST, SLOW],
            capacity,
            waiting=waiting,
            patience=10.0,
            slow_lane=SLOW,
            is_slow=self.slow.__contains__,
            clock=self.clock,
            **options,
        )
        self.held = []
        self.turned = Counter()
        self.tasks = []

    def room(self, *routes):
        """Return how much surplus of *routes* may be recalled to the fast lane."""
        return self.places.rooms(FAST, routes)[1]

    @property
    def got(self):
        return Counter(place.route for place in self.held)

    async def ask(self, route, count=1, queue=FAST):
        self.tasks += [asyncio.create_task(self._ask(queue, route)) for _ in range(count)]
        await settle()

    async def _ask(self, queue, route):
        turn = await self.places.take(queue, route)
        if isinstance(turn, Place):
            self.held.append(turn)
        else:
            self.turned[route, turn] += 1

    async def end(self, route, count=1, called=0.0, *, answered=True):
        for place in [place for place in self.held if place.route == route][:count]:
            self.held.remove(place)
            self.places.give_back(place, called=called, answered=answered)
        await settle()

    async def spend(self, seconds):
        """Let time pass, with ten looks a second."""
        for _ in range(round(seconds * 10)):
            self.clock.now += 0.1
            self.places.look()
            await settle()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def attempts():
    attempts = Attempts()
    yield attempts
    for task in attempts.tasks:
        task.cancel()


def at(host, subscription_id=1, tenant_id=None):
    return Route(tenant_id, (f"https://{host}:443",), subscription_id)


FINE = at("fine", 99)


async def test_one_host_gets_no_more_than_its_limit_over_all_lanes():
    attempts = Attempts(capacity=200, per_host=50)
    for number in range(80):
        await attempts.ask(at("a", number), queue=(FAST, SLOW)[number % 2])
    assert 35 <= len(attempts.held) <= 50
    assert sum(attempts.turned.values()) == 0, "the others wait; none of them has failed"


@pytest.mark.parametrize("hosts", [5, 20])
@pytest.mark.parametrize("queue", [FAST, SLOW])
async def test_hosts_that_hang_leave_places_for_the_next_one_from_the_first_moment_on(attempts, hosts, queue):
    for number in range(hosts):
        await attempts.ask(at(f"hung{number}", number), 60 if hosts == 5 else 10, queue=queue)
    for _ in range(3):
        await attempts.ask(FINE, queue=queue)
        assert attempts.got[FINE] == 1
        await attempts.end(FINE)


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [100, 200])
@pytest.mark.parametrize(("paths", "each"), [(1, 60), (2, 60), (5, 40), (10, 10), (20, 100)])
async def test_paths_that_hang_leave_places_for_others_of_their_host(paths, each, capacity):
    """Nor do they take all places when those attempts have timed out, and others follow."""
    attempts, fine = Attempts(capacity, waiting=4000), at("same", 99)
    await attempts.ask(fine)
    await attempts.end(fine)
    hung = [at("same", number) for number in range(paths)]
    for route in hung:
        await attempts.ask(route, each)
    for _ in range(3):
        await attempts.ask(fine)
        assert attempts.got[fine] == 1
        await attempts.end(fine, called=0.01)
        await attempts.spend(8)
        for route in hung:
            await attempts.end(route, each, called=15.0, answered=False)
            await attempts.ask(route, each)
    for task in attempts.tasks:
        task.cancel()


async def test_a_subscription_that_has_answered_gets_most_places_of_its_host(attempts):
    one = at("a", 1)
    await attempts.ask(one, 60)
    unknown = attempts.got[one]
    assert 10 < unknown < 25
    await attempts.end(one, called=10.0)
    assert attempts.got[one] >= 28


async def test_a_tenant_whose_hosts_all_hang_leaves_places_for_other_tenants(attempts):
    for number in range(100):
        await attempts.ask(at(f"hung{number}", number, "acme"))
    await attempts.ask(at("fine", 200, "beta"))
    assert attempts.got[at("fine", 200, "beta")] == 1
    await attempts.ask(at("fine", 201, "acme"))
    assert attempts.got[at("fine", 201, "acme")] == 0


async def test_places_that_become_free_go_to_tenants_hosts_and_subscriptions_in_turns(attempts):
    busy = at("busy", 1)
    await attempts.ask(busy, 100)
    first = attempts.got[busy]
    others = [at("busy", 2), at("busy", 3)]
    for other in others:
        await attempts.ask(other, 20)
    await attempts.end(busy, 10, answered=False)
    assert attempts.got[busy] - (first - 10) <= 4
    assert min(attempts.got[other] for other in others) >= 3


async def test_a_target_without_a_host_shares_by_subscription(attempts):
    one, other = Route(None, (), 1), Route(None, (), 2)
    await attempts.ask(one, 200)
    assert 25 < attempts.got[one] < 50, "nothing is known of it yet"
    await attempts.end(one, called=10.0)
    assert 70 < attempts.got[one] < 90, "it has answered"
    for _ in range(20):
        await attempts.end(one)
    await attempts.spend(0.1)
    assert 85 < attempts.got[one] < 100, "it is quick"
    await attempts.ask(other)
    assert attempts.got[other] == 1


async def test_functions_that_hang_leave_places_for_slow_and_quick_ones(attempts):
    hung, slow, quick = [Route(None, (), number) for number in range(3)], Route(None, (), 8), Route(None, (), 9)
    for route in hung:
        await attempts.ask(route, 60)
    await attempts.spend(2)
    await attempts.ask(slow, 150)
    for _ in range(5):
        await attempts.end(slow, called=3.0)
        await attempts.ask(quick)
        assert attempts.got[quick] == 1
        await attempts.end(quick)
    assert attempts.got[slow] >= 10


async def test_an_attempt_in_steps_counts_towards_each_of_its_hosts(attempts):
    both = Route(None, ("https://a:443", "https://b:443"), 1)
    await attempts.ask(both, 60)
    await attempts.ask(at("b", 2), 60)
    assert attempts.got[both] + attempts.got[at("b", 2)] <= 50


async def test_nobody_is_put_off_while_there_is_room_to_wait(attempts):
    await attempts.ask(at("hung"), 100)
    await attempts.spend(5)
    assert not attempts.turned


async def test_in_a_crowded_lane_those_are_put_off_who_get_no_places(attempts):
    hung = at("hung")
    await attempts.ask(hung, 160)
    await attempts.spend(0.2)
    assert not attempts.turned, "it is too early to tell"
    await attempts.spend(0.3)
    assert attempts.turned == {(hung, Turn.SURPLUS): 160 - attempts.got[hung]}
    assert attempts.places.take_surplus() == {1: Contender("", None)}


async def test_in_a_crowded_lane_those_may_wait_who_get_places_soon(attempts):
    """Its receiver is fast; that everything takes long is our own fault, and would not become better."""
    for _ in range(10):
        await attempts.ask(FINE, 40)
        await attempts.end(FINE, 20, called=0.001)
        await attempts.spend(0.1)
    assert not attempts.turned


async def test_in_a_crowded_lane_a_slow_receiver_keeps_what_it_takes_soon(attempts):
    """It takes 20 a second."""
    slow = at("slow")
    await attempts.ask(slow, 180)
    for _ in range(20):
        await attempts.spend(0.1)
        await attempts.end(slow, 2, called=10.0)
    put_off = attempts.turned[slow, Turn.SURPLUS]
    assert 40 < put_off < 150


async def test_nobody_waits_for_longer_than_the_scheduler_does(attempts):
    await attempts.ask(at("hung"), 60)
    await attempts.spend(9.9)
    assert not attempts.turned
    await attempts.spend(0.3)
    assert attempts.turned[at("hung"), Turn.SURPLUS] > 10


async def test_what_takes_a_second_has_its_place_in_the_slow_lane(attempts):
    for number in range(20):
        await attempts.ask(at(f"hung{number}", number), 10)
    before = len(attempts.held)
    attempts.slow.update(range(20))
    await attempts.spend(1.2)
    assert sum(count for (_, turn), count in attempts.turned.items() if turn is Turn.SLOW) == 200 - before
    await attempts.ask(at("fine", 50), 20)
    assert attempts.got[at("fine", 50)] >= 12, "the fast lane is free again"
    for place in attempts.held:
        attempts.places.give_back(place)


async def test_a_host_that_is_silent_for_a_second_gets_less_than_one_that_answers(attempts):
    """The first attempts of neither have ended by then."""
    await attempts.ask(at("a", 1), 4, queue=SLOW)
    await attempts.ask(at("b", 2), 4, queue=SLOW)
    await attempts.spend(1.1)
    await attempts.end(at("b", 2))
    await attempts.ask(at("a", 1), 60, queue=SLOW)
    await attempts.end(at("a", 1), 0)
    assert attempts.got[at("a", 1)] < 15
    await attempts.ask(at("b", 2), 60, queue=SLOW)
    assert attempts.got[at("b", 2)] > 15


async def test_surplus_is_recalled_when_there_are_places_for_it(attempts):
    hung = at("hung")
    await attempts.ask(hung, 160)
    await attempts.spend(1)
    assert attempts.room(hung) == 0
    await attempts.end(hung, 5, answered=False)
    assert attempts.room(hung) == 5
    for number in range(5):
        attempts.places.expect(FAST, hung, f"{number}-1")
    assert attempts.room(hung) == 0, "they are on their way"
    attempts.clock.now += 3
    await attempts.end(hung, 1, answered=False)
    assert attempts.room(hung) == 6, "another deliverer has got them"


async def test_some_surplus_is_recalled_to_a_lane_that_is_crowded_by_others(attempts):
    """Else a tenant with a single delivery would wait for all of theirs."""
    assert attempts.places.spare(FAST) > 100
    await attempts.ask(FINE, 300)
    assert 0 < attempts.places.spare(FAST) <= 10
    assert attempts.room(at("another")) > 0


async def test_who_gets_many_places_is_recalled_ahead(attempts):
    await attempts.ask(FINE, 40)
    for _ in range(20):
        await attempts.ask(FINE, 20)
        await attempts.end(FINE, 20, called=0.001)
        await attempts.spend(0.1)
    assert attempts.room(FINE) > 10


async def test_when_it_stops_nobody_waits(attempts):
    await attempts.ask(at("a"), 60)
    got = len(attempts.held)
    attempts.places.stop()
    await attempts.ask(at("a"))
    assert attempts.turned == {(at("a"), Turn.STOPPED): 61 - got}
    assert len(attempts.held) == got


async def test_a_task_that_is_cancelled_leaves_no_trace(attempts):
    await attempts.ask(at("a"), 60)
    for task in attempts.tasks:
        task.cancel()
    await settle()
    for place in list(attempts.held):
        await attempts.end(place.route, answered=False)
    assert not attempts.held
    fresh = Attempts()
    assert attempts.room(at("a")) == fresh.room(at("a"))


@pytest.mark.parametrize("hosts", [14, 50])
async def test_receivers_that_take_long_go_on_beside_hosts_that_hang(hosts):
    """All in the slow lane and of one tenant; a receiver needs 1.5 s, so two attempts a second need three places."""
    attempts = Attempts(capacity=200, waiting=1000)
    hung = [at(f"hung{number}", number) for number in range(hosts)]
    known, new = at("known", 900), at("new", 901)
    attempts.slow.update(route.subscription_id for route in (*hung, known, new))
    await attempts.ask(known, queue=SLOW)
    await attempts.spend(1.5)
    await attempts.end(known, called=1.5)
    for route in hung:
        await attempts.ask(route, 60, SLOW)
    done = Counter()
    for step in range(100):
        for route in (known, new):
            if step % 5 == 0:
                await attempts.ask(route, queue=SLOW)
            long = [place for place in attempts.held if place.route == route and place.since < attempts.clock.now - 1.4]
            await attempts.end(route, len(long), called=1.5)
            done[route] += len(long)
        await attempts.spend(0.1)
    assert min(done[known], done[new]) >= 16, done


@pytest.mark.parametrize("queue", [FAST, SLOW])
async def test_hosts_that_answered_and_hang_now_leave_a_place_to_another_host_of_their_tenant(attempts, queue):
    """The hung ones use up their tenant's share, and it is not known yet whether the new host is healthy."""
    hung = [Route(None, (f"http://hung{number}",), number) for number in range(20)]
    for route in hung:
        await attempts.ask(route)
        await attempts.end(route, called=1.0)
    for route in hung:
        await attempts.ask(route, 60, queue)
    fine = Route(None, ("http://fine",), 99)
    waiting = Route(None, ("http://hung0",), 0)
    before = attempts.got[waiting]
    await attempts.ask(waiting, 1, queue)
    assert attempts.got[waiting] == before, "they have what they may have"
    await attempts.ask(fine, 2, queue)
    assert attempts.got[fine] == 1
    await attempts.end(fine)
    assert attempts.got[fine] == 1, "the next one at once"


async def test_another_place_is_taken_at_once_while_nobody_waits(attempts):
    run, other = Route(None, ("http://run",), 1), Route(None, ("http://other",), 2)
    await attempts.ask(run)
    await attempts.end(run)
    place = attempts.places.retake(FAST, run)
    assert place.route == run
    await attempts.ask(other, 200)
    assert attempts.places.retake(FAST, run) is None, "others wait"
    attempts.places.stop()
    assert attempts.places.retake(SLOW, run) is None, "the deliverer stops"


async def test_none_is_taken_beyond_the_share(attempts):
    run = Route(None, ("http://run",), 1)
    taken = [attempts.places.retake(FAST, run) for _ in range(100)]
    assert 0 < len([place for place in taken if place is not None]) < 100


async def test_what_waits_for_a_host_is_recalled_together_however_many_subscriptions_it_is_of():
    """None of them has more than one delivery, so how many of its own get places soon says nothing of the host."""
    attempts = Attempts(waiting=1000)
    for turn in range(20):
        routes = [at("crowded", 100 * turn + number) for number in range(20)]
        attempts.room(*routes)
        for route in routes:
            await attempts.ask(route)
            await attempts.end(route, called=0.001)
        await attempts.spend(0.1)
    rooms, together = attempts.places.rooms(FAST, [at("crowded", number) for number in range(50)])
    assert together > 1.5 * max(rooms)


async def test_a_host_that_takes_many_has_all_of_them_recalled_that_may_wait():
    """A recall takes long enough, while a deliverer is busy, for a host to take what is brought by half a recall."""
    attempts, host = Attempts(capacity=200, waiting=800), at("quick")
    attempts.room(host)
    for _ in range(10):
        for _ in range(5):
            await attempts.ask(host, 30)
            await attempts.end(host, 30, called=0.001)
        await attempts.spend(0.1)
    assert attempts.room(host) == 400, "1500 a second get places, and half of the waiting room may be used"
    await attempts.ask(host, 300)
    assert attempts.room(host) > 0, "and more while those wait"


async def test_many_that_wait_for_a_host_are_not_all_looked_at_whenever_a_place_is_free(monkeypatch):
    attempts = Attempts(waiting=1000)
    for number in range(400):
        await attempts.ask(at("crowded", number))
    looked, room = 0, Places._room  # noqa: SLF001  (what takes long)

    def count(*arguments):
        nonlocal looked
        looked += 1
        return room(*arguments)

    monkeypatch.setattr(Places, "_room", count)
    before = len(attempts.held)
    for place in attempts.held[:5]:
        await attempts.end(place.route, called=0.001)
    assert len(attempts.held) >= before - 5
    assert looked < 50, "those that are alike are refused together"
    for task in attempts.tasks:
        task.cancel()
