"""Handlers: Python functions, called in the worker's own process."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from broker.deliveries import Outcome, Result
from broker.store.deliveries.attempts import Claimed
from workers.couriers import Sent
from workers.handlers import Handlers
from workers.handlers.functions import ReceivedSignal


class HandlerCourier:
    """Calls the handlers of *apps*, by their apps' names."""

    def __init__(self, apps: Mapping[str, Handlers]) -> None:
        self._functions = {
            handler.of(app).target.address: handler.function for app, handlers in apps.items() for handler in handlers
        }

    def preview(self, claimed: Claimed) -> Sent:
        """Return the payload."""
        return Sent({}, claimed.signal.throw.payload)

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Call the handler with the signal, under an id that is the same on every attempt."""
        address = claimed.target.address
        function = self._functions.get(address)
        if function is None:
            return Result(outcome=Outcome.FAILED, error=f"this worker's code has no handler {address!r}")
        signal = ReceivedSignal.of(claimed.signal, delivery_id=claimed.message_id, attempt=claimed.due.attempt)
        return await function.call(signal, timeout=timeout)
