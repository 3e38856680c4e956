"""Calling a handler's function with a signal of the store."""

from __future__ import annotations

from datetime import timedelta

import structlog

from broker.deliveries import Outcome, Result
from broker.hops import next_hops
from broker.jsontext import read
from broker.signals import Signal
from broker.variables import typed
from workers.handlers.calls import Function, ReceivedSignal

log = structlog.get_logger()


async def call(function: Function, signal: Signal, *, delivery_id: str, attempt: int, timeout: timedelta) -> Result:
    """Call *function* with *signal* and return the result, as `Function.call` does; log what the function raised."""
    ended = await function.call(receive(signal, delivery_id=delivery_id, attempt=attempt), timeout=timeout)
    if ended.exception is not None:
        log.error(
            "handler.failed",
            delivery_id=delivery_id,
            attempt=attempt,
            function=function.name,
            raised=type(ended.exception).__name__,
            exc_info=ended.exception,
        )
    return Result(outcome=Outcome(ended.outcome), error=ended.error, retry_after=ended.retry_after)


def receive(signal: Signal, *, delivery_id: str, attempt: int) -> ReceivedSignal:
    """Return what a handler is told of *signal* at that attempt."""
    throw = signal.throw
    return ReceivedSignal(
        id=signal.id,
        name=throw.name,
        scope=throw.scope,
        tenant_id=throw.tenant_id,
        execution_id=throw.execution_id,
        created_at=signal.created_at,
        business_key=throw.business_key,
        ordering_key=throw.ordering_key,
        expires_at=throw.expires_at,
        traceparent=None if throw.trace is None else throw.trace.traceparent,
        tracestate=None if throw.trace is None else throw.trace.tracestate,
        hops=throw.hops,
        delivery_id=delivery_id,
        attempt=attempt,
        headers={**({} if throw.trace is None else throw.trace.headers), **next_hops(throw.hops)},
        raw=throw.payload,
        read_variables=lambda: typed(read(throw.payload.decode()), throw.types, throw.payload),
    )
