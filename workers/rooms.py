"""Rooms: what attempts share while they are made, and wait for in turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from broker.store.deliveries.surplus import Route
from workers.shares import Levels, Pool
from workers.turns import Turns


class Room:
    """A pool of units that attempts take, each as many as it needs, if they are within their shares; others wait.

    Subscriptions take turns. The last one to be admitted may take more units than are left, so none is too large.

    Args:
        capacity: How many units there are.
        levels: Returns the shares that an attempt counts towards.
    """

    def __init__(self, capacity: int, levels: Callable[[Route], Levels]) -> None:
        self._pool = Pool(capacity)
        self._levels = levels
        self._turns: Turns[tuple[Route, int, asyncio.Future[Levels]]] = Turns()

    def has_room(self, route: Route) -> bool:
        """Return whether an attempt would be admitted at once."""
        return self._pool.room(self._levels(route)) > 0

    async def take(self, route: Route, units: int = 1, *, within: float) -> Levels:
        """Take so many *units*, which have to be given back, and return the shares that they count towards.

        Raises:
            TimeoutError: The attempt was not admitted *within* so many seconds.
        """
        if self.has_room(route):
            return self.occupy(route, units)
        turn: asyncio.Future[Levels] = asyncio.get_running_loop().create_future()
        self._turns.add((route,), (route, units, turn))
        try:
            async with asyncio.timeout(within):
                return await turn
        except (TimeoutError, asyncio.CancelledError):
            if not turn.cancelled():  # it came at the same moment
                self.give_back(turn.result(), units)
            raise

    def occupy(self, route: Route, units: int = 1) -> Levels:
        """Take so many *units*, whether the attempt is within its shares or not."""
        levels = self._levels(route)
        self._pool.take(levels, units)
        return levels

    def give_back(self, levels: Levels, units: int = 1) -> None:
        """Give *units* back that were taken for these *levels*, and admit those whose turn it is."""
        self._pool.give_back(levels, units)
        for waiting, wanted, turn in self._turns.serve(lambda path: self.has_room(cast(Route, path[0]))):
            if not turn.done():  # else it was given up
                turn.set_result(self.occupy(waiting, wanted))
