"""The lease keeper: ends leases that are over, so that their deliveries are attempted again."""

from __future__ import annotations

from functools import partial

from broker.operations.attempts import report_attempt
from broker.store.deliveries.leases import LeaseStore
from broker.store.deliveries.surplus import SurplusStore
from broker.targets import Kind
from broker.topology import LEASED
from workers.sweeping import Rows, Step, Sweeper

_TICK = 0.25
_UNHURRIED, _SELDOM = 5.0, 30.0
_LIMIT = 500
"""How many leases one sweep ends, and how many deliveries of a subscription it recalls."""
_SUBSCRIPTIONS = 20
"""Of how many subscriptions it does."""


class LeaseKeeper(Sweeper):
    """Runs in every scheduler process; they share the work without knowing of each other.

    Args:
        leases: The leases.
        surplus: Recalls deliveries to pull targets that were put off: for these there is always room.
    """

    name = "lease_keeper"

    def __init__(self, leases: LeaseStore, surplus: SurplusStore) -> None:
        self._leases = leases
        self._surplus = surplus
        self._lapsed = Rows("end_lapsed")
        self._seen = 0
        """The last subscription that was looked at, if there may be more after it; else 0."""
        step = partial(Step, pause=_TICK)
        super().__init__(
            step("end_lapsed", self.end_lapsed, full=_LIMIT),
            step("recall_leasable", self.recall, full=_LIMIT, every=_UNHURRIED),
            step("forget_leases", self.forget, full=_LIMIT, every=_SELDOM),
            tick=_TICK,
        )

    async def end_lapsed(self) -> int:
        """End leases that are over, each as an attempt that timed out; return how many."""
        return await self._lapsed.take(self._end_lapsed, _LIMIT)

    async def _end_lapsed(self, limit: int, offset: int) -> int:
        lapsed = await self._leases.end_lapsed(limit=limit, offset=offset)
        for attempt, thrown_at in lapsed.ended:
            report_attempt(attempt, Kind.PULL, thrown_at=thrown_at)
        return lapsed.looked

    async def recall(self) -> int:
        """Let deliveries be leased that were held back; return how many, or `_LIMIT` if there may be more."""
        found = await self._surplus.find([LEASED], limit=_SUBSCRIPTIONS, after_id=self._seen)
        is_full = len(found) == _SUBSCRIPTIONS
        self._seen = max(found) if is_full else 0
        if not found:
            return 0
        recalled = len((await self._surplus.recall(dict.fromkeys(found, _LIMIT))).due_attempts)
        return _LIMIT if is_full else recalled

    async def forget(self) -> int:
        """Forget leases that ended long ago; return how many."""
        return await self._leases.forget(limit=_LIMIT)
