"""Connections that wait for another request."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from functools import partial

import structlog

from workers.webhooks.connection import Connection

KEEP_ALIVE = 4
"""For how many seconds a connection is kept: many servers drop an idle one after 5 s."""
REQUESTS = 100
"""How many requests a connection carries: if one of them got an unsolicited answer, all after it got wrong ones."""
DISTRUST = 600.0
"""For how many seconds connections to an origin are not reused after it sent an unsolicited answer."""
_MOST_DISTRUSTED = 10_000

_USED_UP = "used up"

log = structlog.get_logger()


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
        self._distrusted: dict[Hashable, float] = {}
        """When each origin last sent an unsolicited answer, the earliest first."""

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
        """Keep *connection* for a while, if the next `shrink` leaves it.

        One that has carried its requests is kept, too, but not reused: an answer that is still to come shows that an
        earlier one was unsolicited.
        """
        if self._is_distrusted(origin):
            connection.abort()
            return
        connection.on_unsolicited = partial(self._distrust, origin)
        key = origin if connection.requests < REQUESTS else (_USED_UP, origin)
        expiry = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._drop, connection)
        self._idle.setdefault(key, {})[connection] = expiry
        self._origins[connection] = key

    def shrink(self) -> None:
        """Close the connections that are idle for longest, as far as there are more than the limit allows."""
        while self._origins and len(self._origins) + self.busy > self._limit:
            self._drop(next(iter(self._origins)))

    async def close(self) -> None:
        """Close all of them."""
        for connection in list(self._origins):
            self._drop(connection)
        await asyncio.sleep(0)  # their transports let go of them in the loop's next round

    def _is_distrusted(self, origin: Hashable) -> bool:
        since = self._distrusted.get(origin)
        return since is not None and asyncio.get_running_loop().time() - since < DISTRUST

    def _distrust(self, origin: Hashable) -> None:
        """Keep no connection to *origin* for a while."""
        if not self._is_distrusted(origin):
            log.warning("receiver.distrusted", origin=str(origin), reason="it sent an unsolicited answer")
        self._distrusted.pop(origin, None)
        self._distrusted[origin] = asyncio.get_running_loop().time()
        if len(self._distrusted) > _MOST_DISTRUSTED:
            del self._distrusted[next(iter(self._distrusted))]
        for connection in [*self._idle.get(origin, ())]:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._remove(connection)
        connection.abort()

    def _remove(self, connection: Connection) -> None:
        origin = self._origins.pop(connection)
        self._idle[origin].pop(connection).cancel()
        if not self._idle[origin]:
            del self._idle[origin]
