"""Places: which of the attempts that are due a deliverer makes next, and which are more than their share.

message --> a place is free and within the shares? --yes--> attempt --after a second--> has its place in the slow lane
                 | no                        ^
                 v                           | an attempt ends; tenants, hosts and subscriptions take turns
               waits in memory --------------+
                 | it would wait for long, and others may be waiting behind it
                 v
               surplus: put off into PostgreSQL (`workers.recalling` recalls it)
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain, takewhile, zip_longest
from typing import cast

from broker.store.deliveries.contenders import Contender
from broker.store.deliveries.surplus import Route
from broker.topology import app_of
from workers.flows import LOST_AFTER, Flow
from workers.lanes import SLOW_AFTER
from workers.levels import Key, flows_of, memory_shares_of, share_of, shares_of, within_host
from workers.rooms import Room
from workers.shares import Levels, Pool
from workers.standing import Standing, Standings
from workers.turns import Path, Turns

PER_HOST = 50
"""How many attempts a process makes at one host (scheme, name and port) at a time."""
_CROWDED = 1 / 2
"""From what part of its waiting room on a lane is crowded, so that messages are put off."""
_FEW = 10
"""How many deliveries may be recalled at a time to a lane that is crowded."""
_QUICK = 2
"""How many times as many attempts are made at a host that takes little of their time: the rest is our own store's."""
PAYLOADS = 16 << 20
"""Bytes of payloads in memory in each lane, but for the small ones. An attempt takes several times its payload. All of
them are used only if many receivers hang."""
_UNIT = 64 << 10
"""Bytes in which payloads are shared."""


class Turn(enum.Enum):
    """What becomes of an attempt that asked for a place."""

    SLOW = "slow"
    """It belongs in the slow lane, as has become known while it waited."""
    SURPLUS = "surplus"
    """It is to be put off."""
    STOPPED = "stopped"
    """The deliverer stops; another one makes it."""


class Place:
    """A place that an attempt has had in a lane since a moment; it has to be given back to `Places`.

    With it goes room for a payload, in units, if it has any.
    """

    __slots__ = ("lane", "room", "route", "shares", "since", "within_host")

    def __init__(self, lane: _Lane, route: Route, since: float, shares: Levels, within_host: Levels) -> None:
        self.lane = lane
        self.route = route
        self.since = since
        self.shares = shares
        self.within_host = within_host
        self.room: tuple[Room, Levels, int] | None = None


class _Waiting:
    """An attempt that waits for a place since a moment."""

    __slots__ = ("route", "since", "turn")

    def __init__(self, route: Route, since: float) -> None:
        self.route = route
        self.since = since
        self.turn: asyncio.Future[Place | Turn] = asyncio.get_running_loop().create_future()


class _Lane:
    """The places of one queue, and who waits for them."""

    def __init__(self, queue: str, capacity: int, payloads: Room) -> None:
        self.queue = queue
        self.pool = Pool(capacity)
        self.payloads = payloads
        self.places: dict[Place, None] = {}
        """Those that are taken, in the order in which they were."""
        self.turns: Turns[_Waiting] = Turns()
        self.waiting = 0
        self.flows: dict[Hashable, Flow] = {}
        self.coming: dict[str, float] = {}
        """Which deliveries were recalled and have not come yet, with the moment until which they should."""

    def ahead(self, now: float) -> int:
        """Return how many wait for places, or are on their way."""
        self.coming = {key: until for key, until in self.coming.items() if until > now}
        return self.waiting + len(self.coming)

    def flows_of(self, route: Route) -> list[Flow]:
        """Return those flows that an attempt is part of."""
        return [self.flows[key] for key in flows_of(route) if key in self.flows] if self.flows else []


class Places:
    """The places of the lanes of a deliverer, shared by tenants, hosts and subscriptions.

    An attempt that is within its shares gets a place at once, without the store. Beyond them it waits in memory. That
    holds up no other one, until the lane is crowded: then those are surplus that will not get their places soon.

    Args:
        queues: Those whose attempts are made, each in a lane.
        capacity: How many places each lane has.
        slow_lane: The queue in whose lane those attempts of the first queue get places that take long, or will.
        is_slow: Returns whether the attempts of a subscription will.
        waiting: How many messages may wait in each lane.
        patience: Seconds after which what waits is surplus in any case. (The scheduler must not take it for lost.)
        per_host: How many attempts are made at one host at a time, over all lanes.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        queues: Iterable[str],
        capacity: int,
        *,
        waiting: int,
        patience: float,
        slow_lane: str | None = None,
        is_slow: Callable[[int], bool] = lambda _: False,
        per_host: int = PER_HOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes = {queue: _Lane(queue, capacity, Room(PAYLOADS // _UNIT, self._memory_shares)) for queue in queues}
        self._first = next(iter(self._lanes.values()))
        self._slow = None if slow_lane is None else self._lanes[slow_lane]
        self._is_slow = is_slow
        self._most_waiting = waiting
        self._patience = patience
        self._per_host = per_host
        self._clock = clock
        self._pools: dict[str, Pool] = {}
        """The places of each host that has attempts under way, over all lanes."""
        self._standings = Standings()
        self._looked = clock()
        self.stopped = False
        self._serving: asyncio.Handle | None = None
        self._surplus: dict[int, Contender] = {}
        """The subscriptions of which some were put off."""

    async def take(self, queue: str, route: Route, *, delivery_id: str = "") -> Place | Turn:
        """Take a place in the lane of *queue* once there is one, and return it, or else what becomes of the attempt.

        The message of a delivery that was expected has come (see `expect`).
        """
        lane = self._lanes[queue]
        lane.coming.pop(delivery_id, None)
        for flow in lane.flows_of(route):
            flow.coming.pop(delivery_id, None)
        if self._room(lane, route):
            return self._take(lane, route)
        if self.stopped:
            return Turn.STOPPED
        return await self._wait(lane, route)

    def retake(self, queue: str, route: Route) -> Place | None:
        """Take another place for what follows on an attempt; None: somebody waits for it, or there is none."""
        waiting = any(lane.waiting for lane in self._lanes.values())
        lane = self._lanes[queue]
        return None if self.stopped or waiting or not self._room(lane, route) else self._take(lane, route)

    async def _wait(self, lane: _Lane, route: Route) -> Place | Turn:
        one = _Waiting(route, self._clock())
        lane.turns.add((("tenants", route.tenants), flows_of(route)[0], route), one)
        lane.waiting += 1
        for key in flows_of(route):
            lane.flows.setdefault(key, Flow(one.since)).waiting += 1
        try:
            return await one.turn
        except asyncio.CancelledError:
            if one.turn.cancelled():
                self._leave(lane, one)
            elif isinstance(place := one.turn.result(), Place):  # it was given at the same moment
                self.give_back(place)
            raise

    async def load(self, place: Place, size: int) -> None:
        """Make room in memory for the payload, of *size* bytes, of the attempt that has *place*.

        Raises:
            TimeoutError: There was none in time.
        """
        room, units = place.lane.payloads, -(-size // _UNIT)
        levels = await room.take(place.route, units, within=self._patience)
        place.room = room, levels, units

    def give_back(self, place: Place, *, called: float = 0.0, answered: bool = False) -> None:
        """Give back a place; the receiver took so many seconds of its time, and *answered* in the end, or not."""
        lane, route, now = place.lane, place.route, self._clock()
        part = called / max(called, now - place.since, 1e-9)
        for flow in lane.flows_of(route):
            flow.note(part)
        del lane.places[place]
        lane.pool.give_back(place.shares)
        if place.room is not None:
            room, levels, units = place.room
            room.give_back(levels, units)
        for name in route.hosts:
            self._pools[name].give_back(place.within_host)
            if self._pools[name].is_empty:
                del self._pools[name]
        for key in _receivers(route):
            self._standings.end(key, place, called=part, answered=answered, now=now)
        if self._serving is None and any(each.waiting for each in self._lanes.values()):
            # Not at once: attempts often end together.
            self._serving = asyncio.get_running_loop().call_soon(self._serve_all)

    def _serve_all(self) -> None:
        self._serving = None
        for lane in self._lanes.values():
            self._serve(lane)

    def stop(self) -> None:
        """Let nobody wait any more."""
        self.stopped = True
        for lane in self._lanes.values():
            for _, queue in lane.turns.queues():
                for one in queue:
                    self._let_go(lane, one, Turn.STOPPED)
            _prune(lane)

    def rooms(self, queue: str, routes: Sequence[Route]) -> tuple[list[int], int]:
        """Return how many surplus deliveries may be recalled now, so that they get their places soon.

        How many of each of *routes*, which have one host or are one, and how many of all of them together.
        """
        lane, now = self._lanes[queue], self._clock()
        flows = [[lane.flows.setdefault(key, Flow(now)) for key in flows_of(route)] for route in routes]
        free = [self._room(lane, route) for route in routes]
        # Even if others come all the time, the surplus goes on.
        least, most = flows[0][0].least, int(self._most_waiting * _CROWDED)
        rooms = [
            max(least, min(most, room + min(flow.soon - flow.ahead(now) for flow in of_route)))
            for room, of_route in zip(free, flows, strict=True)
        ]
        return rooms, max(least, min(most, max(free) + flows[0][0].soon - flows[0][0].ahead(now)))

    def spare(self, queue: str) -> int:
        """Return how many deliveries may be recalled now, whosever they are, so that the lane is not crowded.

        If it is crowded anyway, with those of others perhaps, a few may.
        """
        lane = self._lanes[queue]
        return max(_FEW, lane.pool.room(()) + int(self._most_waiting * _CROWDED) - lane.ahead(self._clock()))

    def take_surplus(self) -> dict[int, Contender]:
        """Return the subscriptions of which some were put off since the last call."""
        put_off, self._surplus = self._surplus, {}
        return put_off

    def expect(self, queue: str, route: Route, delivery_id: str) -> None:
        """Expect the message of a delivery that was recalled."""
        lane = self._lanes[queue]
        now = self._clock()
        lane.coming[delivery_id] = now + LOST_AFTER
        for flow in lane.flows_of(route):
            flow.expect(delivery_id, now)

    def look(self) -> None:
        """Look, several times a second, who has waited for too long, or would."""
        now = self._clock()
        since_last, self._looked = now - self._looked, now
        self._standings.look(now)
        for name, pool in self._pools.items():
            quick = self._standings.of(("host", name)) is Standing.QUICK
            pool.resize(self._per_host * (_QUICK if quick else 1))
        if self._slow is not None:
            self._move(self._first, self._slow, now)
        for lane in self._lanes.values():
            for key, flow in list(lane.flows.items()):
                flow.look(now, since_last)
                if flow.is_idle:
                    del lane.flows[key]
            if lane.waiting:
                self._put_off(lane, now)

    def _move(self, fast: _Lane, slow: _Lane, now: float) -> None:
        """Give attempts that take long places in the slow lane instead, and let those go who would take long."""
        for place in list(takewhile(lambda place: now - place.since > SLOW_AFTER.total_seconds(), fast.places)):
            if slow.pool.room(place.shares) and (place.room is None or slow.payloads.has_room(place.route)):
                fast.pool.give_back(place.shares)
                slow.pool.take(place.shares)
                del fast.places[place]
                slow.places[place] = None
                place.lane = slow
                if place.room is not None:
                    room, levels, units = place.room
                    room.give_back(levels, units)
                    place.room = slow.payloads, slow.payloads.occupy(place.route, units), units
        for path, queue in fast.turns.queues():
            if self._is_slow(cast(Route, path[-1]).subscription_id):
                for one in queue:
                    self._let_go(fast, one, Turn.SLOW)
        _prune(fast)
        self._serve(fast)

    def _put_off(self, lane: _Lane, now: float) -> None:
        """Let those go who have waited for too long and, if the lane is crowded, those who would."""
        by_group: dict[Hashable, list[list[_Waiting]]] = {}
        for path, queue in lane.turns.queues():
            for one in takewhile(lambda one: now - one.since > self._patience, queue):
                self._let_go(lane, one, Turn.SURPLUS)
            by_group.setdefault(path[1], []).append([one for one in queue if not one.turn.done()])
        is_crowded = lane.waiting > self._most_waiting * _CROWDED
        for group, queues in by_group.items() if is_crowded else ():
            most = lane.flows[group].most_waiting(self._patience)
            # In turns, so that all of the group's subscriptions keep as many.
            in_turns = [one for one in chain.from_iterable(zip_longest(*queues)) if one is not None]
            for one in in_turns[most:]:
                self._let_go(lane, one, Turn.SURPLUS)
        _prune(lane)

    def _serve(self, lane: _Lane) -> None:
        """Give free places to those whose turn it is."""
        if not lane.waiting:
            return
        refused: set[Hashable] = set()
        for one in lane.turns.serve(lambda path: self._admits(lane, path, refused)):
            if not one.turn.done():  # else its task was cancelled
                self._let_go(lane, one, self._take(lane, one.route))

    def _let_go(self, lane: _Lane, one: _Waiting, turn: Place | Turn) -> None:
        if not one.turn.done():
            self._leave(lane, one)
            one.turn.set_result(turn)
            if turn is Turn.SURPLUS:
                self._surplus[one.route.subscription_id] = Contender(app_of(lane.queue), one.route.tenants)

    def _leave(self, lane: _Lane, one: _Waiting) -> None:
        lane.waiting -= 1
        for key in flows_of(one.route):
            lane.flows[key].waiting -= 1

    def _admits(self, lane: _Lane, path: Path, refused: set[Hashable]) -> bool:
        """Return whether the next one of a group may have a place; *refused* are those routes that may not.

        Many may wait that are all alike.
        """
        route = path[-1]
        if not isinstance(route, Route):
            levels = [[share_of(cast(Key, key), self._standings.of(key))] for key in path]
            return lane.pool.room(levels) > 0 or lane.pool.spares_one(
                [share for level in levels[1:] for share in level]
            )
        alike = self._alike(lane, route)
        if alike in refused:
            return False
        if self._room(lane, route) > 0:
            return True
        refused.add(alike)
        return False

    def _alike(self, lane: _Lane, route: Route) -> Hashable:
        """Return what routes of the same room have in common: their subscriptions may differ if they have no place."""
        own = ("subscription", route.subscription_id)
        pools = [lane.pool, *(self._pools[name] for name in route.hosts if name in self._pools)]
        has_places = any(pool.holds(own) for pool in pools)
        return route if has_places else (route.tenants, route.hosts, self._standings_of(route))

    def _room(self, lane: _Lane, route: Route) -> int:
        """Return how many attempts may be begun now."""
        shares = self._shares(route)
        room = lane.pool.room(shares)
        if not room:  # the others of its tenant may hang: a receiver of its own has a place all the same
            room = int(lane.pool.spares_one(shares[1 if route.hosts else -1]))
        for name in route.hosts if room else ():
            pool = self._pools.get(name)
            room = min(room, self._per_host if pool is None else pool.room(self._within_host(route)))
        return room

    def _shares(self, route: Route) -> Levels:
        """Return the shares of a lane that an attempt counts towards."""
        return shares_of(route, *self._standings_of(route))

    def _memory_shares(self, route: Route) -> Levels:
        """Return the shares of a lane's memory for payloads that an attempt counts towards."""
        return memory_shares_of(route, *self._standings_of(route))

    def _standings_of(self, route: Route) -> tuple[tuple[Standing, ...], Standing]:
        of = self._standings.of
        return tuple(of(("host", name)) for name in route.hosts), of(("subscription", route.subscription_id))

    def _within_host(self, route: Route) -> Levels:
        """Return the shares of a host's places that an attempt counts towards."""
        return within_host(route, self._standings.of(("subscription", route.subscription_id)))

    def _take(self, lane: _Lane, route: Route) -> Place:
        place = Place(lane, route, self._clock(), self._shares(route), self._within_host(route))
        lane.places[place] = None
        lane.pool.take(place.shares)
        for name in route.hosts:
            if name not in self._pools:
                self._pools[name] = Pool(self._per_host)
            self._pools[name].take(place.within_host)
        for key in _receivers(route):
            self._standings.begin(key, place, place.since)
        for flow in lane.flows_of(route):
            flow.served += 1
        return place


def _prune(lane: _Lane) -> None:
    """Forget those who do not wait any more."""
    for _, queue in lane.turns.queues():
        left = [one for one in queue if not one.turn.done()]
        if len(left) < len(queue):
            queue.clear()
            queue.extend(left)
    lane.turns.prune()


def _receivers(route: Route) -> Iterable[Key]:
    """Return whose standing an attempt counts for."""
    return (*(("host", name) for name in route.hosts), ("subscription", route.subscription_id))
