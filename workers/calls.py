"""Calls: how many requests are made to one host at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from broker.store.deliveries.surplus import Route
from workers.places import PER_HOST, within_host
from workers.shares import Pool
from workers.turns import Turns


class _Host:
    """The calls at one host, and those who wait for theirs."""

    def __init__(self, capacity: int) -> None:
        self.pool = Pool(capacity)
        self.turns: Turns[tuple[Route, asyncio.Future[None]]] = Turns()
        self.users = 0

    def end(self, route: Route) -> None:
        """End a call, and begin those whose turn it is."""
        self.pool.give_back(within_host(route))
        while (one := self.turns.pop(lambda path: self.pool.room(within_host(cast(Route, path[0]))) > 0)) is not None:
            waiting, turn = one
            if not turn.done():  # else it was given up
                self.pool.take(within_host(waiting))
                turn.set_result(None)


class Calls:
    """Lets so many attempts at a time call a host, shared by tenants and subscriptions; the others wait their turns.

    Few wait, and not for long: there are hardly more places for attempts at a host (see `workers.places`).

    Args:
        per_host: How many.
    """

    def __init__(self, per_host: int = PER_HOST) -> None:
        self._per_host = per_host
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def at(self, name: str | None, route: Route, *, within: float) -> AsyncIterator[None]:
        """Call the host of that name in the block; None: nothing that is limited.

        Raises:
            TimeoutError: It could not be called *within* so many seconds.
        """
        if name is None:
            yield
            return
        host = self._hosts.setdefault(name, _Host(self._per_host))
        host.users += 1
        try:
            await self._begin(host, route, within)
            try:
                yield
            finally:
                host.end(route)
        finally:
            host.users -= 1
            if not host.users:
                del self._hosts[name]

    async def _begin(self, host: _Host, route: Route, within: float) -> None:
        if host.pool.room(within_host(route)):
            host.pool.take(within_host(route))
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        host.turns.add((route,), (route, turn))
        try:
            async with asyncio.timeout(within):
                await turn
        except (TimeoutError, asyncio.CancelledError):
            if not turn.cancelled():  # it came at the same moment
                host.end(route)
            raise
