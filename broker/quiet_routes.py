"""Quiet routes: routes without a bound queue, by which only a probe is published now and then.

    busy route --mandatory message returned--> quiet: messages wait, and every PROBE_EVERY one is published as a probe
        ^                                        |  probe returned: what came before the previous probe is dropped
        +--waiting messages are published--------+  probe confirmed: a queue has been bound

RabbitMQ does not tell publishers about bindings; it only returns mandatory messages that it cannot route. One return
proves little: the nodes of a RabbitMQ 4 cluster learn of a binding one after the other, some after its client has heard
that the queue is bound. So a message that was returned waits, too, and is dropped only if another one, or itself, is
returned that was published at least `PROBE_EVERY` after it came.
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
MOST_LOOKS = 10
"""How many routes are probed by their first message, in each `PROBE_EVERY`."""


class Publish(Protocol[T_contra]):
    """Publishes an item."""

    def __call__(self, item: T_contra, /, *, mandatory: bool) -> None:
        """Publish *item*."""


@dataclass(slots=True)
class _Quiet(Generic[T]):
    """A quiet route: the probe under way, and what waits, in its order.

    Args:
        probe: Is among what waits.
        old: What came before the previous probe was published.
        young: What came between the two.
        new: What has come since.
    """

    probe: T | None = None
    old: list[T] = field(default_factory=list)
    young: list[T] = field(default_factory=list)
    new: list[T] = field(default_factory=list)


class QuietRoutes(Generic[T]):
    """Decides for each item whether it is published by its route now, or waits.

    RabbitMQ returns all of an unroutable message, which costs more than to drop it. So of routes that are used only
    once within `PROBE_EVERY`, no more than `MOST_LOOKS` get mandatory messages.

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

    def send(self, route: Hashable, item: T) -> bool:
        """Publish *item* by *route* now, or once a queue is bound, if the route is quiet; return whether it was now."""
        quiet = self._quiet.get(route)
        if quiet is None:
            self._publish(item, mandatory=self._is_looked_at(route))
        else:
            quiet.new.append(item)
        return quiet is None

    def take_unroutable(self, route: Hashable, item: T) -> None:
        """Note that RabbitMQ returned the mandatory *item*, which waits now."""
        quiet = self._quiet.get(route)
        if quiet is None:
            quiet = self._quiet[route] = _Quiet(old=[item])
        elif quiet.probe is item:
            for unheard in quiet.old:
                self._drop(unheard)
            quiet.probe, quiet.old, quiet.young = None, quiet.young, []
        else:  # it was published before the route was found to be quiet
            quiet.new.append(item)
            return
        self._loop.call_later(PROBE_EVERY, self._probe, route, quiet)

    def take_routed(self, route: Hashable, item: T) -> None:
        """Note that the mandatory *item* was confirmed, or failed for another reason than its route."""
        quiet = self._quiet.get(route)
        if quiet is not None and quiet.probe is item:
            del self._quiet[route]
            for waiting in (*quiet.old, *quiet.young, *quiet.new):
                if waiting is not item:
                    self._publish(waiting, mandatory=True)

    def _probe(self, route: Hashable, quiet: _Quiet[T]) -> None:
        quiet.young, quiet.new = quiet.new, []
        quiet.probe = next(iter(quiet.old or quiet.young), None)
        if quiet.probe is None:
            del self._quiet[route]
        else:
            self._publish(quiet.probe, mandatory=True)

    def _is_looked_at(self, route: Hashable) -> bool:
        now = self._loop.time()
        if now > self._used_since + PROBE_EVERY:
            self._used.clear()
            self._used_since = now
        is_looked_at = route in self._used or len(self._used) < MOST_LOOKS
        self._used.add(route)
        return is_looked_at
