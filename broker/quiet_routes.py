"""Quiet routes: routes without a bound queue, by which only a probe is published now and then.

    busy route --mandatory message returned--> quiet: messages wait, and every PROBE_EVERY one is published as a probe
        ^                                        |  probe returned: messages that were waiting then are dropped
        +--waiting messages are published--------+  probe confirmed: a queue has been bound

RabbitMQ does not tell publishers about bindings; it only returns mandatory messages that it cannot route. Because
messages wait meanwhile, a new binding gets everything that is sent from then on, up to `PROBE_EVERY` later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

PROBE_EVERY = 0.1
"""Seconds between two probes of a quiet route."""


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

    Only routes that are used more than once within `PROBE_EVERY` get mandatory messages: RabbitMQ returns all of an
    unroutable message, which costs more than to drop it.

    Args:
        publish: Publishes an item. The outcome of a mandatory one goes to `take_routed` or `take_unroutable`.
        drop: Called with each waiting item that no queue was bound for.
    """

    def __init__(self, publish: Publish[T], drop: Callable[[T], None]) -> None:
        self._publish = publish
        self._drop = drop
        self._loop = asyncio.get_running_loop()
        self._quiet: dict[Hashable, _Quiet[T]] = {}
        self._used: set[Hashable] = set()
        self._used_since = float("-inf")

    def send(self, route: Hashable, item: T) -> None:
        """Publish *item* by *route* now, or once a queue is bound, if the route is quiet."""
        quiet = self._quiet.get(route)
        if quiet is None:
            self._publish(item, mandatory=self._is_busy(route))
        else:
            quiet.since.append(item)

    def take_unroutable(self, route: Hashable, item: T) -> None:
        """Note that RabbitMQ returned the mandatory *item*."""
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
        """Note that the mandatory *item* was confirmed, or failed for another reason than its route."""
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
