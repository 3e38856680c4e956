"""Buffered messages are correlated as soon as a subscription waits for them.

A scheduler looks at what is buffered under a name after each commit of such a message, or of a subscription that begins
to receive signals: whichever of the two comes later, both are there. The message leaves the buffer in the transaction
that records it.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from broker.access import ADMINISTRATOR
from broker.errors import StoreUnavailable
from broker.operations.correlation import TRIES, Message, address, find_receivers
from broker.signals import Signal
from broker.store.signals.buffering import BufferStore, take
from broker.store.signals.correlating import CorrelationStore, Named
from broker.store.subscriptions.subscriptions import SubscriptionStore


class BufferCorrelator:
    """Correlates buffered messages.

    Args:
        buffer: The messages.
        subscriptions, correlations: As for `Correlator`.
        rescue_after: How long a delivery waits for its message to a deliverer.
    """

    def __init__(
        self,
        buffer: BufferStore,
        subscriptions: SubscriptionStore,
        correlations: CorrelationStore,
        *,
        rescue_after: timedelta,
    ) -> None:
        self._buffer = buffer
        self._subscriptions = subscriptions
        self._correlations = correlations
        self._rescue_after = rescue_after

    async def correlate(self, signal_id: int) -> Signal | None:
        """Correlate the buffered message with that id; return the signal that it has become.

        None: it is not buffered any more, or stays buffered because no subscription waits for it.

        Raises:
            StoreUnavailable: Its receivers changed all the time, or PostgreSQL did not answer.
        """
        for _ in range(TRIES):
            message = await self._buffer.get(signal_id)
            if message is None:
                return None
            throw = message.throw
            wanted = Message(
                throw=throw,
                named=Named(in_execution=True, business_key=throw.business_key or ""),
                first=True,
                optional=True,
            )
            found = await find_receivers(wanted, self._subscriptions, self._correlations, by=ADMINISTRATOR)
            if not found:
                return None
            signal = address(message, found[0].subscription)
            taking = partial(take, signal_id=signal_id)
            if await self._correlations.record(signal, found, rescue_after=self._rescue_after, first=taking):
                return signal
        raise StoreUnavailable("what a buffered message could be correlated with changed all the time")
