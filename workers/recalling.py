"""Recalling: surplus deliveries go on as soon as a deliverer has places for them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace

import structlog

from broker.errors import StoreUnavailable, TransportError
from broker.settings import Settings
from broker.store.deliveries.contenders import Contender
from broker.store.deliveries.surplus import Route, SurplusStore
from broker.topology import ATTEMPT, SLOW_ATTEMPT, app_of, attempt_queue
from broker.transport import Transport
from workers.dispatch import dispatch
from workers.fairness import Rota, divide, divide_by, find_next
from workers.lanes import FastLane
from workers.places import Places
from workers.routes import Routes
from workers.spacing import Spacing

_LOOK_EVERY = 0.1
_RECALL_EVERY, _RECALL_AGAIN = 0.2, 0.05
"""Seconds between looks for places, the latter if there were some at the last look."""
_FIND_EVERY, _FIND_TIMES, _FIND_WITHIN = 0.4, 10, 2.0
"""Seconds after which the store is asked again which subscriptions have surplus, as recorders and others note it, too;
for how many times as long as it took to find them out it is not, but for how many seconds at most."""
_MOST = 20_000
"""How many subscriptions take turns at most; then the next ones do."""
_FRESH = 30.0
"""Seconds for which the route of a subscription with surplus is believed."""
_SUBSCRIPTIONS = 500
"""How many subscriptions are looked at at a time."""

log = structlog.get_logger()


class Recall:
    """Recalls the surplus of subscriptions, as much as this process has places for.

    Args:
        transport: Where recalled deliveries are published, as any that is due.
        store: Where they wait.
        places: Where they are to go.
        routes: What they count towards.
        fast_lane: Which subscriptions do not belong in it.
        queues: Those of this process.
        settings: Deadlines.
    """

    def __init__(
        self,
        transport: Transport,
        store: SurplusStore,
        *,
        places: Places,
        routes: Routes,
        fast_lane: FastLane,
        queues: Collection[str],
        settings: Settings,
    ) -> None:
        self._transport = transport
        self._store = store
        self._places = places
        self._routes = routes
        self._fast_lane = fast_lane
        self._apps = {app_of(queue) for queue in queues}
        self._settings = settings
        self._surplus: dict[int, Contender] = {}
        """The subscriptions that take turns."""
        self._rota = Rota[int](lambda key: self._surplus[key].tenants)
        self._finding = Spacing(every=_FIND_EVERY, times=_FIND_TIMES, most=_FIND_WITHIN)
        self._seen = 0
        """The last subscription that takes turns, if there may be more after it; else 0."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Recall until *stopping* is set, and let nobody wait then; what fails is tried again."""
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look())
            pause = _RECALL_EVERY
            while not await _is_set(stopping, within=pause):
                pause = _RECALL_EVERY
                try:
                    if await self.recall():
                        pause = _RECALL_AGAIN
                except (StoreUnavailable, TransportError) as error:
                    log.warning("recall.postponed", error=str(error))
                except Exception:
                    log.exception("recall.failed")
            looking.cancel()
            self._places.stop()

    async def _look(self) -> None:
        while True:
            self._places.look()
            await asyncio.sleep(_LOOK_EVERY)

    async def recall(self) -> int:
        """Publish as many surplus deliveries as there are places for; return how many.

        Raises:
            StoreUnavailable: Nothing was recalled.
            TransportError: Some may not be published; the scheduler rescues them.
        """
        await self._find()
        chosen = await self._choose()
        if not chosen:
            self._finding.hurry()
            return 0
        recalled = await self._store.recall({key: limit for key, (_, _, limit) in chosen.items()})
        for subscription_id in recalled.done:
            self._rota.discard(subscription_id)
            del self._surplus[subscription_id]
        due_attempts = []
        for due in recalled.due_attempts:
            queue, route, _ = chosen[due.subscription_id]
            self._places.expect(queue, route, due.delivery_id)
            due_attempts.append(replace(due, queue=queue))
        await dispatch(self._transport, due_attempts, timeout=self._settings.confirm_timeout)
        return len(due_attempts)

    async def _find(self) -> None:
        """Find out who takes turns now."""
        if self._finding.is_due:
            with self._finding.looking():
                self._surplus, self._seen = await find_next(self._find_after, self._seen, most=_MOST)
                self._rota.keep(self._surplus)
        for key, contender in self._places.take_surplus().items():
            self._surplus.setdefault(key, contender)
            self._rota.add(key)

    async def _find_after(self, after_id: int, limit: int) -> dict[int, Contender]:
        return await self._store.find(self._apps, limit=limit, after_id=after_id)

    async def _choose(self) -> Mapping[int, tuple[str, Route, int]]:
        """Return of which subscriptions to recall how many, to which queue.

        Those of one host share its room, and tenants and their subscriptions the room of the lane. Those that get none
        of a host are passed over: the next ones may have other hosts.
        """
        keys = self._rota.first(_SUBSCRIPTIONS)
        tenants = {key: self._surplus[key].tenants for key in keys}
        queues = {key: self._queue_of(key) for key in keys}
        routes = dict(
            zip(keys, await asyncio.gather(*(self._routes.of(key, fresh=_FRESH) for key in keys)), strict=True)
        )
        by_host: dict[object, list[int]] = {}
        for key, route in routes.items():
            by_host.setdefault((queues[key], route.hosts[:1] or key), []).append(key)
        limits: dict[int, int] = {}
        for group in by_host.values():
            rooms, together = self._places.rooms(queues[group[0]], [routes[key] for key in group])
            limits |= zip(group, divide(rooms, together), strict=True)
        by_queue: dict[str, dict[int, int]] = {}
        for key in keys:
            by_queue.setdefault(queues[key], {})[key] = limits[key]
        chosen = {
            key: (queue, routes[key], limit)
            for queue, wanted in by_queue.items()
            for key, limit in divide_by(wanted, tenants.__getitem__, self._places.spare(queue)).items()
            if limit
        }
        self._rota.pass_over(key for key in keys if not limits[key])
        self._rota.note(chosen)
        return chosen

    def _queue_of(self, key: int) -> str:
        app = self._surplus[key].app
        if app:
            return attempt_queue(app)
        return SLOW_ATTEMPT if self._fast_lane.refuses(key) else ATTEMPT


async def _is_set(event: asyncio.Event, *, within: float) -> bool:
    """Return whether *event* is set within so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
    return event.is_set()
