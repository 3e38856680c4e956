"""Calls: how many requests are made to one host at a time."""

from __future__ import annotations

import time
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
_AT_ONCE = 0.1
"""Seconds of waiting in which little can have changed: on a busy machine it takes as long to claim an attempt."""


class _Host:
    """The calls at one host, how many are made or wait for their turns, and how many of them have failed."""

    def __init__(self, capacity: int) -> None:
        self.room = Room(capacity, partial(within_host, subscription=Standing.ANSWERING))
        self.users = 0
        self.failed = 0


class Calls:
    """Lets so many attempts at a time call a host, shared by tenants and subscriptions; the others wait their turns.

    Few wait, and not for long: there are hardly more places for attempts at a host (see `workers.places`).

    Args:
        per_host: How many.
        patience: How many seconds an attempt waits for its turn.
        at_once: How many of these make no difference to whether it may be made.
    """

    def __init__(self, per_host: int = PER_HOST, *, patience: float = PATIENCE, at_once: float = _AT_ONCE) -> None:
        self._per_host = per_host
        self._patience = patience
        self._at_once = at_once
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def at(self, name: str | None, route: Route) -> AsyncIterator[bool]:
        """Call the host of that name in the block; None: nothing that is limited.

        Yield whether it had to wait so long that it is to be asked again whether the call may be made, or for one that
        failed.

        Raises:
            TimeoutError: Its turn did not come; nothing may be called.
        """
        if name is None:
            yield False
            return
        host = self._hosts.setdefault(name, _Host(self._per_host))
        host.users += 1
        try:
            failed, began = host.failed, time.monotonic()
            levels = await host.room.take(route, within=self._patience)
            try:
                yield host.failed != failed or time.monotonic() - began > self._at_once
            finally:
                host.room.give_back(levels)
        finally:
            host.users -= 1
            if not host.users:
                del self._hosts[name]

    def note_failure(self, name: str | None) -> None:
        """Note that a call that is being made at the host of that name has failed."""
        if name is not None:
            self._hosts[name].failed += 1
