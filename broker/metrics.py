"""Every metric of the product, in one table; exposed on ``/metrics``.

| metric | labels | counts |
|---|---|---|
| signal_broker_signals_accepted_total | source, scope | throws answered with a 2xx |
| signal_broker_signals_refused_total | source, status | throws answered with anything else |
| signal_broker_accept_seconds | source | how long a throw took, from the request to the answer |
| signal_broker_tap_rejections_total | exchange | fan-outs that a tap kept from being confirmed; recorded all the same |
| signal_broker_signals_recorded_total | | signals recorded |
| signal_broker_record_lag_seconds | | from a signal's acceptance to its recording |
| signal_broker_deliveries_matched_total | | deliveries owed at once, so not those of signals for later |
| signal_broker_attempts_total | kind, outcome | attempts made |
| signal_broker_attempt_seconds | kind | how long an attempt took |
| signal_broker_deliveries_delivered_total | kind | deliveries made |
| signal_broker_deliveries_parked_total | kind | attempts that ended with the delivery parked |
| signal_broker_deliveries_dead_total | kind | deliveries given up |
| signal_broker_delivery_lag_seconds | kind | from a signal's acceptance to its successful delivery |
| signal_broker_deliveries_repaired_total | | deliveries whose message was given up for lost and published again |
| signal_broker_deliveries_held_back_total | reason | deliveries that could not go when it was their turn |
| signal_broker_deliveries_left_total | queue | due messages that their queue did not take; owed all the same |
| signal_broker_deliveries_moved_total | | due messages that were moved to the slow lane |
| signal_broker_subscriptions_disabled_total | | subscriptions disabled because their target answered 410 |
| signal_broker_circuits_opened_total | | circuits opened, again after a failed try too |
| signal_broker_circuits_open | | circuits that are not closed (measured by the scheduler) |
| signal_broker_oldest_held_seconds | | for how long the oldest held delivery is owed (measured by the scheduler) |
| signal_broker_unaccounted | | deliveries owed that are in no state; 0, or it is a defect (measured by the scheduler) |
| signal_broker_blocks | | partitions that signals are in or will be (measured by the scheduler) |
| signal_broker_oldest_signal_seconds | | the age of the oldest signal that is kept (measured by the scheduler) |
| signal_broker_signals_dropped_total | | signals dropped because of their age |
| signal_broker_retention_failures_total | | attempts to make, empty, archive or drop partitions that failed |
| signal_broker_messages_poisoned_total | queue | messages rejected to a dead queue |
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.openmetrics.exposition import generate_latest

REGISTRY = CollectorRegistry()
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"signal_broker_{name}", meaning, labels, registry=REGISTRY)


def _seconds(name: str, meaning: str, *labels: str) -> Histogram:
    return Histogram(f"signal_broker_{name}_seconds", meaning, labels, registry=REGISTRY, buckets=_BUCKETS)


ACCEPTED = _counter("signals_accepted", "Throws answered with a 2xx.", "source", "scope")
REFUSED = _counter("signals_refused", "Throws answered with anything but a 2xx.", "source", "status")
ACCEPT_SECONDS = _seconds("accept", "How long a throw took, from the request to the answer.", "source")
TAP_REJECTIONS = _counter("tap_rejections", "Fan-outs that a tap kept from being confirmed.", "exchange")
RECORDED = _counter("signals_recorded", "Signals recorded.")
RECORD_LAG = _seconds("record_lag", "From a signal's acceptance to its recording.")
MATCHED = _counter("deliveries_matched", "Deliveries owed at once.")
ATTEMPTS = _counter("attempts", "Attempts made.", "kind", "outcome")
ATTEMPT_SECONDS = _seconds("attempt", "How long an attempt took.", "kind")
DELIVERED = _counter("deliveries_delivered", "Deliveries made.", "kind")
PARKED = _counter("deliveries_parked", "Attempts that ended with the delivery parked.", "kind")
DEAD = _counter("deliveries_dead", "Deliveries given up.", "kind")
DELIVERY_LAG = _seconds("delivery_lag", "From a signal's acceptance to its successful delivery.", "kind")
RESCUED = _counter("deliveries_repaired", "Deliveries whose message was given up for lost and published again.")
HELD_BACK = _counter("deliveries_held_back", "Deliveries that could not go when it was their turn.", "reason")
LEFT = _counter("deliveries_left", "Due messages that their queue did not take.", "queue")
MOVED = _counter("deliveries_moved", "Due messages that were moved to the slow lane.")
DISABLED = _counter("subscriptions_disabled", "Subscriptions disabled because their target answered 410.")
CIRCUITS_OPENED = _counter("circuits_opened", "Circuits opened, again after a failed try too.")
CIRCUITS = Gauge("signal_broker_circuits_open", "Circuits that are not closed.", registry=REGISTRY)
OLDEST_HELD = Gauge(
    "signal_broker_oldest_held_seconds", "For how long the oldest delivery is owed that is held.", registry=REGISTRY
)
UNACCOUNTED = Gauge("signal_broker_unaccounted", "Deliveries owed that are in no state.", registry=REGISTRY)
BLOCKS = Gauge("signal_broker_blocks", "Blocks that signals are in or will be.", registry=REGISTRY)
OLDEST_SIGNAL = Gauge(
    "signal_broker_oldest_signal_seconds", "The age of the oldest signal that is kept.", registry=REGISTRY
)
DROPPED = _counter("signals_dropped", "Signals dropped because of their age.")
RETENTION_FAILURES = _counter("retention_failures", "Attempts to make, empty, archive or drop partitions that failed.")
POISONED = _counter("messages_poisoned", "Messages rejected to a dead queue.", "queue")


def exposition() -> tuple[bytes, str]:
    """Return every metric in the OpenMetrics text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE  # type: ignore[no-untyped-call]
