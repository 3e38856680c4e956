"""Couriers: one for each kind of target; a deliverer has them make its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple, Protocol

from broker import tracing
from broker.deliveries import Outcome, Result
from broker.signals import Signal
from broker.store.deliveries.attempts import Claimed


class Sent(NamedTuple):
    """What an attempt sends: headers and a body."""

    headers: Mapping[str, str]
    body: bytes


class Courier(Protocol):
    """Makes attempts at the targets of one kind."""

    def preview(self, claimed: Claimed) -> Sent:
        """Return what the attempt *claimed* sends, as far as that is known beforehand; empty if it cannot be sent."""
        ...

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Make the attempt *claimed* within *timeout*. A mistake of the receiver is a result, not an error."""
        ...


def attempt_of(claimed: Claimed) -> tracing.Attempt:
    """Return the attributes of the span of the attempt *claimed*."""
    return tracing.Attempt(
        signal_id=claimed.signal.id,
        delivery_id=claimed.due.delivery_id,
        message_id=claimed.message_id,
        number=claimed.due.attempt,
        is_retry=claimed.due.attempt > 1 and not claimed.later,
        context=claimed.signal.throw.trace,
    )


def caused_by(span: tracing.Span, signal: Signal) -> Signal:
    """Return *signal* as the attempt with that *span* delivers it: what the receiver does belongs to the attempt."""
    return replace(signal, throw=replace(signal.throw, trace=span.context))


def note_result(span: tracing.Span, result: Result) -> None:
    """Note in the *span* of an attempt what it came to."""
    span.attempted(result.outcome.value, result.status, succeeded=result.outcome is Outcome.SUCCEEDED)
