"""Connections that wait for another request."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from workers.webhooks.connection import Connection

KEEP_ALIVE = 4
"""For how many seconds a connection is kept: many servers drop an idle one after 5 s."""


class Pool:
    """Idle connections by their origin.

    Args:
        limit: The maximum number of connections that are idle or `busy`.
    """

    def __init__(self, limit: int) -> None:
        self.busy = 0
        """How many connections are in use; counted by their users."""
        self._limit = limit
        self._idle: dict[Hashable, dict[Connection, asyncio.TimerHandle]] = {}
        self._origins: dict[Connection, Hashable] = {}
        """The origin of every idle connection, the one that has been idle for longest first."""

    def take(self, origin: Hashable) -> Connection | None:
        """Return a connection to *origin* that can still be used, the one used last if there are several."""
        while connections := self._idle.get(origin):
            connection = next(reversed(connections))
            self._remove(connection)
            if connection.usable:
                return connection
            connection.abort()
        return None

    def keep(self, origin: Hashable, connection: Connection) -> None:
        """Keep *connection* for a while, if the next `shrink` leaves it."""
        expiry = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._drop, connection)
        self._idle.setdefault(origin, {})[connection] = expiry
        self._origins[connection] = origin

    def shrink(self) -> None:
        """Close the connections that are idle for longest, as far as there are more than the limit allows."""
        while self._origins and len(self._origins) + self.busy > self._limit:
            self._drop(next(iter(self._origins)))

    async def close(self) -> None:
        """Close all of them."""
        for connection in list(self._origins):
            self._drop(connection)
        await asyncio.sleep(0)  # their transports let go of them in the loop's next round

    def _drop(self, connection: Connection) -> None:
        self._remove(connection)
        connection.abort()

    def _remove(self, connection: Connection) -> None:
        origin = self._origins.pop(connection)
        self._idle[origin].pop(connection).cancel()
        if not self._idle[origin]:
            del self._idle[origin]
