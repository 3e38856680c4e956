"""Handlers: Python functions, called in the worker's own process."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import cast

from broker import tracing
from broker.deliveries import Outcome, Result
from broker.signals import Signal
from broker.store.deliveries.attempts import Claimed
from broker.targets import HandlerTarget
from broker.topology import attempt_queue
from workers.couriers import Sent, attempt_of, caused_by, note_result
from workers.handlers import Handlers
from workers.handlers.calling import call
from workers.handlers.calls import Function


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
        tracer = tracing.tracer()
        if tracer is None:
            return await _call(function, claimed, claimed.signal, timeout)
        queue = attempt_queue(cast(HandlerTarget, claimed.target).app)
        with tracer.handling(queue, address, attempt_of(claimed)) as span:
            result = await _call(function, claimed, caused_by(span, claimed.signal), timeout)
            note_result(span, result)
            return result


async def _call(function: Function, claimed: Claimed, signal: Signal, timeout: timedelta) -> Result:
    return await call(function, signal, delivery_id=claimed.message_id, attempt=claimed.due.attempt, timeout=timeout)
