"""Quiet routes: where no queue is bound, nearly nothing has to be published.

    busy route --mandatory message returned--> quiet: messages wait, and one of them is published every PROBE_EVERY
        ^                                        |  returned: what waited before it reaches nobody, and is dropped
        +--all that waits is published-----------+  taken: somebody has bound a queue meanwhile

RabbitMQ does not tell a publisher who is bound; it only returns a message that was published as mandatory and reached
no queue. So whoever binds a queue gets everything from then on, at most `PROBE_EVERY` later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

PROBE_EVERY = 0.1
"""Seconds between two messages by a quiet route."""


class Publish(Protocol[T_contra]):
    """Publishes an item."""

    def __call__(self, item: T_contra, /, *, mandatory: bool) -> None:
        """Publish *item*."""


@dataclass(slots=True)
class _Quiet(Generic[T]):
    """A quiet route: the probe under way, what waited when it was published, and what has come since."""

    probe: T | None = None
    before: list[T] = field(default_factory=list)
    since: list[T] = field(default_factory=list)


class QuietRoutes(Generic[T]):
    """Decides for each item whether it is published by its route now, or waits.

    Only a route that is used more than once in `PROBE_EVERY` is tried with mandatory messages: a returned message costs
    more than one that is dropped.

    Args:
        publish: Publishes an item, as mandatory or not. Its end is told to `take_routed` or `take_unroutable`.
        drop: Called with an item that waited, and reaches nobody.
    """

    def __init__(self, publish: Publish[T], drop: Callable[[T], None]) -> None:
        self._publish = publish
        self._drop = drop
        self._loop = asyncio.get_running_loop()
        self._quiet: dict[Hashable, _Quiet[T]] = {}
        self._used: set[Hashable] = set()
        self._used_since = float("-inf")

    def send(self, route: Hashable, item: T) -> None:
        """Publish *item* by *route* now, or once somebody is found to listen there."""
        quiet = self._quiet.get(route)
        if quiet is None:
            self._publish(item, mandatory=self._is_busy(route))
        else:
            quiet.since.append(item)

    def take_unroutable(self, route: Hashable, item: T) -> None:
        """Take note that *item*, which was published as mandatory, reached no queue."""
        quiet = self._quiet.get(route)
        if quiet is None:
            quiet = self._quiet[route] = _Quiet()
        elif quiet.probe is not item:
            return  # it was published before the route was found to be quiet
        for unheard in quiet.before:
            self._drop(unheard)
        quiet.probe, quiet.before = None, []
        self._loop.call_later(PROBE_EVERY, self._probe, route, quiet)

    def take_routed(self, route: Hashable, item: T) -> None:
        """Take note that *item* reached a queue, or that nobody can tell."""
        quiet = self._quiet.get(route)
        if quiet is not None and quiet.probe is item:
            del self._quiet[route]
            for waiting in (*quiet.before, *quiet.since):
                self._publish(waiting, mandatory=False)

    def _probe(self, route: Hashable, quiet: _Quiet[T]) -> None:
        if quiet.since:
            quiet.probe, *quiet.before = quiet.since
            quiet.since = []
            self._publish(quiet.probe, mandatory=True)
        else:
            del self._quiet[route]

    def _is_busy(self, route: Hashable) -> bool:
        now = self._loop.time()
        if now > self._used_since + PROBE_EVERY:
            self._used.clear()
            self._used_since = now
        if route in self._used:
            return True
        self._used.add(route)
        return False
