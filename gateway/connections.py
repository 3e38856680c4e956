"""The connections of a server: for what each may keep it waiting, for how long, and how many there may be.

| it waits for | from | to |
|---|---|---|
| a head | the connection, or a request's first byte | the end of its headers |
| idle: the next request | an answer | the first byte |
| unread: its caller | so much being unread that no more can be sent | the caller having read most of that |
| ending: its caller | the last answer | the connection being closed |

When there are as many as there may be, a new one takes the place of the one that has used up most of its time, so that
no crowd of them keeps callers out. A request that is worked on is never given up for that.

A server that stops lets its callers go first: one that sends a request on a connection that is being closed cannot know
whether it was worked on.
"""

from __future__ import annotations

import asyncio
import enum
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from broker import metrics
from broker.metrics import Closing

RESERVE = 32
"""How many more connections there may be while all others are worked on: for probes, anything else is refused."""

SMALL_HEAD = 4 << 10
"""Bytes of an incomplete head that there is always room for."""
MOST_HEADS = 16 << 20
"""Bytes of all incomplete heads, which take some five times as much memory."""

_LOOK = 0.02
"""Seconds between two looks at the connections of a server that stops."""


class Wait(enum.StrEnum):
    """What a connection keeps the server waiting for."""

    HEAD = Closing.HEAD
    IDLE = Closing.IDLE
    UNREAD = Closing.UNREAD
    ENDING = Closing.ENDING


PATIENCE: Mapping[Wait, timedelta] = {
    Wait.HEAD: timedelta(seconds=10),
    Wait.IDLE: timedelta(seconds=75),
    Wait.UNREAD: timedelta(seconds=20),
    Wait.ENDING: timedelta(seconds=5),
}
"""How long it waits."""


class Connection(Protocol):
    """One connection. It begins, and is worked on, without a wait."""

    wait: Wait | None
    """What it waits for; only `Connections` sets it."""
    in_reserve: bool
    """Whether it is one more than there may be; only `Connections` sets it."""
    held: int
    """How many bytes of a head it holds; only `Connections` sets it."""
    of_caller: bool
    """Whether the metrics count it; only `Connections` sets it."""

    def give_up(self, wait: Wait) -> None:
        """End it, because its time for *wait* is over."""

    def abort(self) -> None:
        """End it at once, whatever is not sent."""


@dataclass
class Connections:
    """The open connections of one server.

    Args:
        most: How many there may be, beside the `RESERVE`.
        patience: How long they may keep the server waiting.
        of_callers: Whether the metrics count them.
    """

    most: int = 2000
    patience: Mapping[Wait, timedelta] = field(default_factory=lambda: PATIENCE)
    of_callers: bool = True

    def __post_init__(self) -> None:
        self._open: set[Connection] = set()
        self._waiting: dict[Wait, dict[Connection, float]] = {wait: {} for wait in Wait}
        """The moment since when each waits; the longest waiting one is the first."""
        self._patience = {wait: self.patience[wait].total_seconds() for wait in Wait}
        self._look_every = min(1.0, min(self._patience.values()) / 4)
        self._timer: asyncio.TimerHandle | None = None
        self._held = 0
        """Bytes of all heads."""
        self._clock = asyncio.get_running_loop().time
        self.leaving = False
        """Whether each answer ends its connection."""

    async def leave(self, *, quiet: timedelta, within: timedelta) -> None:
        """Let callers go elsewhere: from now on each answer ends its connection, and says so.

        Return once no connection is open, or all have been idle for *quiet*, or after *within*.
        """
        self.leaving = True
        began = self._clock()
        while self._open and self._clock() < began + within.total_seconds():
            idle = self._waiting[Wait.IDLE]
            since = max(began, *idle.values()) if idle else began
            if len(idle) == len(self._open) and self._clock() >= since + quiet.total_seconds():
                return
            await asyncio.sleep(_LOOK)

    def admit(self, connection: Connection) -> bool:
        """Take a new *connection* in, and return whether there is a place for it."""
        connection.of_caller = self.of_callers
        if len(self._open) >= self.most and not self._make_room() and len(self._open) >= self.most + RESERVE:
            metrics.CONNECTIONS_CLOSED.labels(Closing.LIMIT).inc(connection.of_caller)
            return False
        self._open.add(connection)
        connection.in_reserve = len(self._open) > self.most
        metrics.CONNECTIONS.inc(connection.of_caller)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._look_every, self._look)
        return True

    def count(self, connection: Connection, *, of_caller: bool) -> None:
        """Let the metrics count *connection* if it is *of_caller*; else it is of a prober or a scraper."""
        if connection in self._open:
            before, connection.of_caller = connection.of_caller, of_caller and self.of_callers
            metrics.CONNECTIONS.inc(connection.of_caller - before)

    def has_place(self, connection: Connection) -> bool:
        """Return whether *connection* has a place; one in the reserve gets it as soon as there is one."""
        if connection.in_reserve:
            connection.in_reserve = len(self._open) > self.most
        return not connection.in_reserve

    def forget(self, connection: Connection) -> None:
        """Note that *connection* is closed."""
        self.resume(connection)
        if connection in self._open:
            self._open.remove(connection)
            metrics.CONNECTIONS.dec(connection.of_caller)

    def let_wait(self, connection: Connection, wait: Wait) -> None:
        """Note that *connection* waits from now on."""
        if connection.wait is not None:
            del self._waiting[connection.wait][connection]
        connection.wait = wait
        self._waiting[wait][connection] = self._clock()

    def resume(self, connection: Connection) -> None:
        """Note that *connection* waits no longer."""
        if connection.wait is not None:
            del self._waiting[connection.wait][connection]
            connection.wait = None
        if connection.held:
            self._held -= connection.held
            connection.held = 0

    def hold(self, connection: Connection, size: int) -> bool:
        """Note that *connection* holds *size* bytes of a head, and return whether there is room for them."""
        self._held += size - connection.held
        connection.held = size
        return size <= SMALL_HEAD or self._held <= MOST_HEADS

    def _look(self) -> None:
        """Give up the connections whose time is over."""
        now = self._clock()
        for wait, waiting in self._waiting.items():
            latest = now - self._patience[wait]
            for connection, since in [*waiting.items()]:
                if since > latest:
                    break
                self.resume(connection)
                metrics.CONNECTIONS_CLOSED.labels(wait.value).inc(connection.of_caller)
                connection.give_up(wait)
        self._timer = asyncio.get_running_loop().call_later(self._look_every, self._look) if self._open else None

    def _make_room(self) -> bool:
        """End the connection that has used up most of its time, and return whether there was one."""
        now = self._clock()
        longest = [(next(iter(waiting)), wait) for wait, waiting in self._waiting.items() if waiting]
        if not longest:
            return False
        connection, _ = max(longest, key=lambda one: (now - self._waiting[one[1]][one[0]]) / self._patience[one[1]])
        self.forget(connection)
        metrics.CONNECTIONS_CLOSED.labels(Closing.LIMIT).inc(connection.of_caller)
        connection.abort()
        return True


def affordable(most: int) -> int:
    """Return how many of *most* connections the process has descriptors for; half of them are for everything else.

    Where it may, it raises its own limit of descriptors for that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    needed = 2 * most if hard == resource.RLIM_INFINITY else min(2 * most, hard)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return min(most, max(soft, needed) // 2)
