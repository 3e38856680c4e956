"""Throws with ordering keys, and the checker of the order in which ordered subscriptions got them."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from tests.support.books import overtaken
from tests.support.product import ADMIN_TOKEN

PATIENCE = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True, slots=True)
class Throw:
    """A throw that was repeated until it was accepted: the signal's id, and when it began and was answered."""

    id: int
    begun: float
    ended: float


class Throwers:
    """Throw signals of *keys*, several throwers a key; each throws again as soon as it was answered.

    Args:
        gateways: URLs to throw at.
        keys: The ordering key of each thrower; several may have the same one.
        name: The signals' name.
        rng: Chooses among the gateways.
    """

    def __init__(
        self, gateways: Callable[[], Collection[str]], keys: Collection[str], name: str, rng: random.Random
    ) -> None:
        self.thrown: dict[str, list[Throw]] = defaultdict(list)
        self._gateways = gateways
        self._keys = keys
        self._name = name
        self._rng = rng
        self._numbers = itertools.count()

    @property
    def count(self) -> int:
        """How many throws were accepted."""
        return sum(map(len, self.thrown.values()))

    async def run(self, stopping: asyncio.Event, *, pause: float) -> None:
        """Throw until *stopping* is set, and finish what was begun."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with aiohttp.ClientSession(headers=headers, timeout=PATIENCE) as session, asyncio.TaskGroup() as group:
            for key in self._keys:
                group.create_task(self._thrower(session, key, stopping, pause))

    async def _thrower(self, session: aiohttp.ClientSession, key: str, stopping: asyncio.Event, pause: float) -> None:
        while not stopping.is_set():
            begun = time.monotonic()
            signal_id = await self._throw(session, key)
            self.thrown[key].append(Throw(signal_id, begun, time.monotonic()))
            await asyncio.sleep(self._rng.random() * pause)

    async def _throw(self, session: aiohttp.ClientSession, key: str) -> int:
        """Throw until it is accepted, with one idempotency key; return the signal's id."""
        document = {"name": self._name, "orderingKey": key, "payload": {"key": key}}
        headers = {"Idempotency-Key": f"{self._name}-{next(self._numbers)}"}
        while True:
            gateway = self._rng.choice(sorted(self._gateways()))
            try:
                async with session.post(f"{gateway}/v1/signals", json=document, headers=headers) as response:
                    if response.ok:
                        return int((await response.json())["id"])
                    assert response.status == 503, await response.text()
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.05)


@dataclass
class Subscriber:
    """A webhook that takes its time, refuses some requests, and notes what came, by key and in order.

    Args:
        rng: Decides how long it takes, and what it refuses.
        refuses: Of how many requests out of one it refuses.
    """

    rng: random.Random
    refuses: float
    taken: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    violations: list[str] = field(default_factory=list)
    answering: dict[str, int] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a webhook."""
        document = json.loads(await request.read())
        key, signal_id = document["payload"]["key"], document["id"]
        if key in self.answering:
            self.violations.append(f"signal {signal_id} came while {self.answering[key]} of its key was being answered")
        self.answering[key] = signal_id
        self.note(self.taken[key], signal_id)
        try:
            await asyncio.sleep(self.rng.random() / 100)
            return web.Response(status=500 if self.rng.random() < self.refuses else 200)
        finally:
            self.answering.pop(key, None)

    def note(self, taken: list[int], signal_id: int) -> None:
        """Note a request; repeats of a signal follow each other."""
        if signal_id in taken[:-1]:
            self.violations.append(f"signal {signal_id} came again after {taken[-1]}")
        elif taken[-1:] != [signal_id]:
            taken.append(signal_id)


def compare(thrown: Mapping[str, list[Throw]], subscribers: Collection[Subscriber]) -> list[str]:
    """Return, as sentences, where *subscribers* did not get what was *thrown* in the order of the answers."""
    violations = [sentence for subscriber in subscribers for sentence in subscriber.violations]
    for key, throws in thrown.items():
        orders = [subscriber.taken[key] for subscriber in subscribers]
        if any(order != orders[0] for order in orders):
            violations.append(f"the subscribers got the signals of {key} in different orders: {orders}")
        for order in orders:
            missing = {throw.id for throw in throws} - set(order)
            violations += [f"signal {signal_id} did not come" for signal_id in sorted(missing)]
            violations += _overtaken(throws, order)
    return violations


def _overtaken(throws: list[Throw], order: list[int]) -> list[str]:
    """Return who came before one that was answered before its own throw began."""
    place = {signal_id: position for position, signal_id in enumerate(order)}
    there = [throw for throw in throws if throw.id in place]
    return [
        f"signal {later.id} came before {earlier.id}, which was answered before it was thrown"
        for earlier, later in overtaken(there, lambda throw: place[throw.id])
    ]
