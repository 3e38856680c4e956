"""Releasing: what is due goes on, as much as the queues have room for; if that is too little, tenants take turns."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import timedelta
from itertools import chain

from broker.deliveries import DueAttempt
from broker.errors import StoreTimeout
from broker.store.deliveries.contenders import Contender
from broker.store.deliveries.deliveries import DeliveryStore
from workers.fairness import Rota, find_next
from workers.headroom import Headroom
from workers.spacing import Spacing

_FIND_EVERY, _FIND_TIMES = 0.5, 10
"""Seconds for which it is believed which subscriptions have deliveries that are due, while these are too many, and
for how many times as long as it took to find them out."""
_SUBSCRIPTIONS = 20_000
"""How many subscriptions take turns at most; then the next ones do."""


class Releases:
    """Releases parked deliveries that are due.

    Usually all that are due are released at once. If there is no room for all, they are released by turns of tenants
    and their subscriptions, so nobody waits for all that another one has had due before.

    Args:
        deliveries: The deliveries.
        headroom: How much room there is in the queues.
        rescue_after: When the message of a released delivery is given up for lost.
        subscriptions: How many subscriptions take turns at most.
    """

    def __init__(
        self,
        deliveries: DeliveryStore,
        headroom: Headroom,
        *,
        rescue_after: timedelta,
        subscriptions: int = _SUBSCRIPTIONS,
    ) -> None:
        self._deliveries = deliveries
        self._headroom = headroom
        self._rescue_after = rescue_after
        self._due: dict[int, Contender] = {}
        """Whose deliveries are due, if there are too many."""
        self._rotas: dict[str, Rota[int]] = {}
        """Those of each app."""
        self._finding = Spacing(every=_FIND_EVERY, times=_FIND_TIMES)
        self._in_turns = False
        self._subscriptions = subscriptions
        self._seen = 0
        """The last subscription that takes turns, if there may be more after it; else 0."""

    @property
    def are_short(self) -> bool:
        """Whether more was due at the last look than there was room for."""
        return self._in_turns

    async def release(self, *, limit: int, offset: int = 0) -> tuple[Sequence[DueAttempt], bool]:
        """Release at most *limit* deliveries; return their next attempts, and whether more of them may go.

        The first *offset* are left out; then nobody takes turns.
        """
        due_attempts: Sequence[DueAttempt]
        free = min(await self._headroom.free(), limit)
        if free and (offset or not self._in_turns):
            try:
                due_attempts = await self._deliveries.release(
                    limit=free, offset=offset, rescue_after=self._rescue_after
                )
            except StoreTimeout:  # so many are due that they could not even be sorted
                self._in_turns = True
                raise
            more = self._in_turns = len(due_attempts) == free
        else:
            due_attempts, more = await self._release_in_turns(limit)
        self._headroom.note(due.queue for due in due_attempts)
        return due_attempts, more

    async def _release_in_turns(self, limit: int) -> tuple[Sequence[DueAttempt], bool]:
        if self._finding.is_due:
            with self._finding.looking():
                await self._find()
        self._in_turns = bool(self._due)
        next_ones = chain.from_iterable(rota.first(limit) for rota in self._rotas.values())
        divided = await self._headroom.divide(dict.fromkeys(next_ones, limit), self._due, most=limit)
        limits = {key: most for key, most in divided.items() if most}
        if not limits:
            return (), False
        for key in limits:
            self._rotas[self._due[key].app].note([key])
        due_attempts = await self._deliveries.release_of(limits, rescue_after=self._rescue_after)
        for key in limits.keys() - {due.subscription_id for due in due_attempts}:
            self._rotas[self._due.pop(key).app].discard(key)
        return due_attempts, bool(due_attempts)

    async def _find(self) -> None:
        """Find out who takes turns now."""
        self._due, self._seen = await find_next(self._find_after, self._seen, most=self._subscriptions)
        by_app: dict[str, list[int]] = {}
        for key, contender in self._due.items():
            by_app.setdefault(contender.app, []).append(key)
        self._rotas = {app: self._rotas.get(app, Rota(self._tenants)) for app in by_app}
        for app, keys in by_app.items():
            self._rotas[app].keep(set(keys))

    async def _find_after(self, after_id: int, limit: int) -> dict[int, Contender]:
        return await self._deliveries.find_due(limit=limit, after_id=after_id)

    def _tenants(self, key: int) -> Hashable:
        return self._due[key].tenants
