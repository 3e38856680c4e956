"""Calls: how many requests are made to one host at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from broker.store.deliveries.surplus import Route
from workers.levels import within_host
from workers.places import PER_HOST
from workers.rooms import Room
from workers.standing import Standing

PATIENCE = 2.0
"""How many seconds an attempt waits for its turn: a host that lets it wait for longer is none of the quick ones."""


class _Host:
    """The calls at one host, and how many are made or wait for their turns."""

    def __init__(self, capacity: int) -> None:
        self.room = Room(capacity, partial(within_host, subscription=Standing.ANSWERING))
        self.users = 0


class Calls:
    """Lets so many attempts at a time call a host, shared by tenants and subscriptions; the others wait their turns.

    Few wait, and not for long: there are hardly more places for attempts at a host (see `workers.places`).

    Args:
        per_host: How many.
        patience: How many seconds an attempt waits for its turn.
    """

    def __init__(self, per_host: int = PER_HOST, *, patience: float = PATIENCE) -> None:
        self._per_host = per_host
        self._patience = patience
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def at(self, name: str | None, route: Route) -> AsyncIterator[bool]:
        """Call the host of that name in the block; None: nothing that is limited. Yield whether it had to wait.

        Raises:
            TimeoutError: Its turn did not come; nothing may be called.
        """
        if name is None:
            yield False
            return
        host = self._hosts.setdefault(name, _Host(self._per_host))
        host.users += 1
        try:
            waits = not host.room.has_room(route)
            levels = await host.room.take(route, within=self._patience)
            try:
                yield waits
            finally:
                host.room.give_back(levels)
        finally:
            host.users -= 1
            if not host.users:
                del self._hosts[name]
