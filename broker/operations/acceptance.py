"""Acceptance: whether throws can be accepted now, by all that accepting one takes."""

from __future__ import annotations

from datetime import timedelta

from broker.store.administration.tokens import AccessStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.streaks import Streak
from broker.topology import BROADCAST, BY_NAME, RECORD, ROUTED
from broker.transport import Transport, check_parts

_REHEARSAL_TIMEOUT = timedelta(seconds=1)


class Acceptance:
    """What a gateway knows of the throws that it cannot accept: by trying what stores nothing, and by their outcomes.

    Args:
        database: Numbers throws, and knows their callers.
        transport: Takes what is accepted.
        outcomes: What became of the throws.
    """

    def __init__(self, database: Database, transport: Transport, outcomes: Streak) -> None:
        self._access = AccessStore(database)
        self._signals = SignalStore(database)
        self._ordering = OrderingStore(database)
        self._transport = transport
        self._outcomes = outcomes

    async def check(self) -> None:
        """Return if a throw would be accepted now, as far as is known.

        Raises:
            StoreUnavailable: Its caller would not be known, or it would not be numbered.
            TransportError: The record queue would not get it.
            SignalBrokerError: Throws have been refused for a while, for this reason.
        """
        self._outcomes.check()
        check_parts(self._transport, [RECORD, BROADCAST, ROUTED, BY_NAME])
        await self._access.rehearse()
        await self._signals.rehearse_numbering()
        await self._ordering.rehearse_notes()
        await self._transport.rehearse(timeout=_REHEARSAL_TIMEOUT)
