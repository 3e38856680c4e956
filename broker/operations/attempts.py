"""Attempts that have ended: the one line that each leaves in the log, and the metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from logging import INFO, WARNING

import structlog

from broker import metrics
from broker.deliveries import DeliveryState, Outcome
from broker.store.deliveries.attempts import Ended
from broker.targets import Kind

log = structlog.get_logger()

_attempts = cache(metrics.ATTEMPTS.labels)
_attempt_seconds = cache(metrics.ATTEMPT_SECONDS.labels)
_delivered = cache(metrics.DELIVERED.labels)
_lag = cache(metrics.DELIVERY_LAG.labels)
_parked = cache(metrics.PARKED.labels)
_dead = cache(metrics.DEAD.labels)
"""`labels` takes a lock and formats its arguments."""


def report_attempt(ended: Ended, kind: Kind, *, thrown_at: datetime) -> None:
    """Log an attempt at a target of that *kind*, as a warning if it failed, and count it.

    *thrown_at*: when its signal was accepted.
    """
    _attempts(kind.value, ended.result.outcome.value).inc()
    _attempt_seconds(kind.value).observe(ended.duration.total_seconds())
    match ended.state:
        case DeliveryState.DELIVERED:
            _delivered(kind.value).inc()
            lag = datetime.now(UTC) - thrown_at
            _lag(kind.value).observe(max(0.0, lag.total_seconds()))
        case DeliveryState.PARKED:
            _parked(kind.value).inc()
        case _:
            _dead(kind.value).inc()
    log.log(
        INFO if ended.result.outcome is Outcome.SUCCEEDED else WARNING,
        "delivery.attempted",
        delivery_id=ended.due.delivery_id,
        signal_id=ended.due.signal_id,
        subscription_id=ended.due.subscription_id,
        attempt=ended.due.attempt,
        kind=kind.value,
        outcome=ended.result.outcome.value,
        status=ended.result.status,
        error=ended.result.error,
        duration=round(ended.duration.total_seconds(), 6),
        state=ended.state.value,
        pause=None if ended.pause is None else round(ended.pause.total_seconds(), 3),
    )
