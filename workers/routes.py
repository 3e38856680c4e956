"""Routes: what the attempts of a subscription count towards, known before they are claimed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from broker.store.deliveries.surplus import Route, SurplusStore, route_of
from broker.subscriptions import Subscription

_FRESH = 60.0
"""Seconds for which a route is believed."""
_REMEMBERED = 50_000
"""How many routes are remembered; those that were noted longest ago are forgotten."""


class Routes:
    """Remembers routes. Attempts that are claimed tell them, so only the first one of a subscription asks the store.

    Args:
        store: Where routes are read.
        clock: Monotonic seconds.
    """

    def __init__(self, store: SurplusStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._known: OrderedDict[int, tuple[Route, float]] = OrderedDict()

    async def of(self, subscription_id: int, *, fresh: float = _FRESH) -> Route:
        """Return the route of a subscription; after *fresh* seconds it is read again."""
        known = self._known.get(subscription_id)
        if known is not None and self._clock() - known[1] < fresh:
            return known[0]
        route = await self._store.route(subscription_id)
        self._remember(route)
        return route

    def note(self, subscription: Subscription) -> None:
        """Note the route of a subscription that was read for an attempt."""
        known = self._known.get(subscription.id)
        if known is None or self._clock() - known[1] > _FRESH / 2 or known[0] != route_of(subscription):
            self._remember(route_of(subscription))

    def _remember(self, route: Route) -> None:
        self._known[route.subscription_id] = route, self._clock()
        self._known.move_to_end(route.subscription_id)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
