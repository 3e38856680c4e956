"""The pacer: publishes deliveries that wait for `maxPerSecond`, each shortly before its moment."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

import structlog

from broker.deliveries import DueAttempt
from broker.errors import StoreUnavailable, TransportError
from broker.limits import NOTICE
from broker.settings import Settings
from broker.store.clocks import StoreClock
from broker.store.deliveries.pacing import PacingStore, Waiting
from broker.streaks import Streak
from broker.topology import attempt_queue
from broker.transport import Transport
from workers.dispatch import dispatch
from workers.fairness import divide_by
from workers.headroom import Headroom

_TICK, _IDLE_TICK = 0.1, 0.25
"""Seconds between sweeps, the latter if nothing waited: reservations are given out for longer than that."""
_LEAD = NOTICE.total_seconds()
"""How many seconds before its moment a message is published."""
_GRAIN = 0.01
"""Messages of so many seconds are published together."""
_PAUSE = 1.0
"""Seconds before the next try after a failure."""

log = structlog.get_logger()


class Pacer:
    """Runs in every scheduler process; they share the work without knowing of each other.

    What it has taken and not published, because it was killed, is rescued like any other lost message.
    """

    name = "pacer"

    def __init__(self, transport: Transport, pacing: PacingStore, settings: Settings) -> None:
        self._transport = transport
        self._pacing = pacing
        self._settings = settings
        self._clock = StoreClock()
        self._headroom = Headroom(transport, timeout=settings.confirm_timeout)
        self._outcomes = Streak()
        self._ready: deque[DueAttempt] = deque()
        self._waited = False
        """Whether deliveries waited at the last sweep."""
        self._full_apps: set[str] = set()
        """For whose workers there was no room."""

    async def check(self) -> None:
        """Return unless sweeps have been failing for a while.

        Raises:
            SignalBrokerError: They have, for this reason.
        """
        self._outcomes.check()

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish deliveries at their moments until *stopping* is set, and then those that were taken already."""
        clock, sweep_at = asyncio.get_running_loop().time, float("-inf")
        while not stopping.is_set():
            try:
                await self.publish(within=_LEAD + _GRAIN)
                if clock() >= sweep_at:
                    more = await self.sweep()
                    sweep_at = clock() + (0 if more else _TICK if self._waited else _IDLE_TICK)
                pause = min(sweep_at - clock(), self._next())
                self._outcomes.note_success()
            except (StoreUnavailable, TransportError) as error:
                self._outcomes.note_failure(error)
                log.warning("pacing.postponed", error=str(error))
                pause = _PAUSE
            except Exception as error:
                self._outcomes.note_failure(error)
                log.exception("pacing.failed")
                pause = _PAUSE
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause)):
                    await stopping.wait()
        with suppress(TransportError):
            await self.publish(within=float("inf"))

    async def sweep(self) -> bool:
        """Take the deliveries whose moments come next, as many as there is room for; return whether to do so again now.

        If there is too little room, tenants and their subscriptions take turns. What is not taken keeps its order.
        """
        full_apps = {app for app in self._full_apps if not await self._room(app)}
        waiting = await self._pacing.find(without_apps=full_apps)
        self._waited = bool(waiting or full_apps)
        by_app: dict[str, dict[int, int]] = {}
        for key, one in waiting.items():
            by_app.setdefault(one.contender.app, {})[key] = one.most
        limits: dict[int, int] = {}
        for app, wanted in by_app.items():
            room = await self._room(app)
            if not room:
                full_apps.add(app)
            limits |= _divide(wanted, waiting, room)
        self._full_apps = full_apps
        reserved = await self._pacing.reserve(limits, rescue_after=self._settings.rescue_after)
        if reserved.now is not None:
            self._clock.note(reserved.now)
        self._ready = deque(sorted([*self._ready, *reserved.due_attempts], key=_moment))
        return reserved.more

    async def publish(self, *, within: float) -> None:
        """Publish what is due *within* so many seconds."""
        due_attempts = []
        while self._ready and self._seconds_until(self._ready[0]) <= within:
            due_attempts.append(self._ready.popleft())
        self._headroom.note(due.queue for due in due_attempts)
        try:
            await dispatch(self._transport, due_attempts, timeout=self._settings.confirm_timeout)
        except TransportError:
            self._ready.extendleft(reversed(due_attempts))
            raise

    async def _room(self, app: str) -> int:
        """Return how many more attempts may be taken for the workers of *app*: what is taken has its room already."""
        queue = attempt_queue(app)
        return max(0, await self._headroom.free(queue) - sum(due.queue == queue for due in self._ready))

    def _next(self) -> float:
        """Return in how many seconds the next message is published."""
        return self._seconds_until(self._ready[0]) - _LEAD if self._ready else float("inf")

    def _seconds_until(self, due: DueAttempt) -> float:
        return 0.0 if due.at is None else self._clock.seconds_until(due.at)


def _divide(wanted: Mapping[int, int], waiting: Mapping[int, Waiting], room: int) -> dict[int, int]:
    """Return how many of each subscription may be taken: tenants share the *room*."""
    divided = divide_by(wanted, lambda key: waiting[key].contender.tenants, room)
    return {key: most for key, most in divided.items() if most}


def _moment(due: DueAttempt) -> float:
    """Return by what attempts are sorted: those without a reservation go first."""
    return 0.0 if due.at is None else due.at.timestamp()
