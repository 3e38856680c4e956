"""Every metric of the product, in one table; exposed on ``/metrics``.

| metric | labels | counts |
|---|---|---|
| signal_broker_signals_accepted_total | source, scope | throws answered with a 2xx |
| signal_broker_signals_refused_total | source, status | throws answered with anything else |
| signal_broker_accept_seconds | source | the time from a throw's request to its answer |
| signal_broker_tap_rejections_total | exchange | fan-outs not confirmed because of a tap; recorded all the same |
| signal_broker_signals_recorded_total | | signals recorded |
| signal_broker_record_lag_seconds | | from a signal's acceptance to its recording |
| signal_broker_deliveries_matched_total | | deliveries owed at once, without those of scheduled signals |
| signal_broker_filters_exceeded_total | | deliveries that are dead because a filter exceeded its budget of time |
| signal_broker_attempts_total | kind, outcome | attempts made |
| signal_broker_attempt_seconds | kind | the duration of attempts |
| signal_broker_deliveries_delivered_total | kind | successful deliveries |
| signal_broker_deliveries_parked_total | kind | attempts that ended with the delivery parked |
| signal_broker_deliveries_dead_total | kind | deliveries given up after an attempt |
| signal_broker_deliveries | state | all deliveries by the ledger, however they ended (measured by the scheduler) |
| signal_broker_delivery_lag_seconds | kind | from a signal's acceptance to its successful delivery |
| signal_broker_deliveries_expired_total | | deliveries cancelled because their signal expired |
| signal_broker_deliveries_repaired_total | | deliveries rescued: their message was presumed lost |
| signal_broker_deliveries_held_back_total | reason | deliveries whose attempt admission deferred or denied |
| signal_broker_deliveries_left_total | queue | due messages that their queue did not accept; rescued later |
| signal_broker_deliveries_moved_total | | due messages that were moved to the slow lane |
| signal_broker_subscriptions_disabled_total | | subscriptions disabled because their target answered 410 |
| signal_broker_circuits_opened_total | | circuits opened, and opened again after a failed probe |
| signal_broker_circuits_open | | circuits that are not closed (measured by the scheduler) |
| signal_broker_oldest_held_seconds | | the age of the oldest waiting delivery (measured by the scheduler) |
| signal_broker_unaccounted | | `unaccounted` of the ledger; not 0 is a defect (measured by the scheduler) |
| signal_broker_signals_lost | | accepted signals that are lost (measured by the scheduler) |
| signal_broker_signals_poisoned | | accepted signals that were seen in the dead queue (measured by the scheduler) |
| signal_broker_signals_awaiting_record | | `awaitingRecord` of the ledger (measured by the scheduler) |
| signal_broker_oldest_awaiting_record_seconds | | the age of the oldest of them (measured by the scheduler) |
| signal_broker_poison | queue | messages in a dead queue (measured by the scheduler) |
| signal_broker_books_kept_timestamp_seconds | | when a scheduler last measured the six above |
| signal_broker_losing_policies | queue, setting | 1: a policy of RabbitMQ loses messages (measured by the scheduler) |
| signal_broker_blocks | | partitions, used and unused ones (measured by the scheduler) |
| signal_broker_oldest_signal_seconds | | the age of the oldest signal that is kept (measured by the scheduler) |
| signal_broker_signals_dropped_total | | signals dropped after the retention |
| signal_broker_retention_failures_total | | failures to create, empty, archive or drop partitions |
| signal_broker_messages_poisoned_total | queue | messages rejected to a dead queue |
| signal_broker_messages_quarantined | queue | messages that failed alone and are tried again aside from the others |
| signal_broker_access_unconfirmed | | 1: PostgreSQL does not answer, and callers are known from before |
| signal_broker_ready | | whether the process can do all of its work: every check of `/readyz` |
| signal_broker_repeats_total | cause | work that was done again (see below) |
| signal_broker_http_connections | | open connections of callers to the process |
| signal_broker_http_connections_closed_total | rule | connections of callers that the process closed (see below) |

| cause | means |
|---|---|
| redelivered | an attempt in place of one that was interrupted: the deliverer of that lost its link, or ended |
| rescued | a delivery rescued whose attempt was interrupted: it left no outcome in time |
| recorded | a signal that the recorder dropped, because it was recorded already |
| published | a signal published again, because the first publish was not confirmed |
| reconnected | a webhook sent again within its attempt, because the connection that was kept gave no answer to it |

| rule | means |
|---|---|
| head | the headers of a request did not arrive in time |
| idle | no further request came in time |
| unread | the caller did not read its answer in time |
| ending | after the last answer, the caller did not close it in time |
| limit | there were as many connections as there may be, and this one had waited longest |

Counters whose labels are known exist from the start, at 0.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.openmetrics.exposition import generate_latest

from broker.deliveries import Outcome
from broker.targets import Kind
from broker.topology import BROADCAST, ROUTED, consumed_queues

REGISTRY = CollectorRegistry()
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"signal_broker_{name}", meaning, labels, registry=REGISTRY)


def _seconds(name: str, meaning: str, *labels: str) -> Histogram:
    return Histogram(f"signal_broker_{name}_seconds", meaning, labels, registry=REGISTRY, buckets=_BUCKETS)


ACCEPTED = _counter("signals_accepted", "Throws answered with a 2xx.", "source", "scope")
REFUSED = _counter("signals_refused", "Throws answered with anything but a 2xx.", "source", "status")
ACCEPT_SECONDS = _seconds("accept", "The time from a throw's request to its answer.", "source")
TAP_REJECTIONS = _counter("tap_rejections", "Fan-outs not confirmed because of a tap.", "exchange")
RECORDED = _counter("signals_recorded", "Signals recorded.")
RECORD_LAG = _seconds("record_lag", "From a signal's acceptance to its recording.")
MATCHED = _counter("deliveries_matched", "Deliveries owed at once.")
FILTERS_EXCEEDED = _counter(
    "filters_exceeded", "Deliveries that are dead because a filter exceeded its budget of time."
)
ATTEMPTS = _counter("attempts", "Attempts made.", "kind", "outcome")
ATTEMPT_SECONDS = _seconds("attempt", "The duration of attempts.", "kind")
DELIVERED = _counter("deliveries_delivered", "Successful deliveries.", "kind")
PARKED = _counter("deliveries_parked", "Attempts that ended with the delivery parked.", "kind")
DEAD = _counter("deliveries_dead", "Deliveries given up after an attempt.", "kind")
DELIVERIES = Gauge("signal_broker_deliveries", "Deliveries, as the ledger has them.", ["state"], registry=REGISTRY)
DELIVERY_LAG = _seconds("delivery_lag", "From a signal's acceptance to its successful delivery.", "kind")
EXPIRED = _counter("deliveries_expired", "Deliveries cancelled because their signal had expired.")
RESCUED = _counter("deliveries_repaired", "Deliveries whose message was presumed lost and published again.")
HELD_BACK = _counter("deliveries_held_back", "Deliveries whose attempt admission deferred or denied.", "reason")
LEFT = _counter("deliveries_left", "Due messages that their queue did not accept.", "queue")
MOVED = _counter("deliveries_moved", "Due messages that were moved to the slow lane.")
DISABLED = _counter("subscriptions_disabled", "Subscriptions disabled because their target answered 410.")
CIRCUITS_OPENED = _counter("circuits_opened", "Circuits opened, and opened again after a failed probe.")
CIRCUITS = Gauge("signal_broker_circuits_open", "Circuits that are not closed.", registry=REGISTRY)
OLDEST_HELD = Gauge("signal_broker_oldest_held_seconds", "The age of the oldest waiting delivery.", registry=REGISTRY)
UNACCOUNTED = Gauge(
    "signal_broker_unaccounted", "Accepted signals and owed deliveries that are nowhere.", registry=REGISTRY
)
LOST = Gauge("signal_broker_signals_lost", "Accepted signals that are lost.", registry=REGISTRY)
POISONED_SIGNALS = Gauge(
    "signal_broker_signals_poisoned", "Accepted signals that were seen in the dead queue.", registry=REGISTRY
)
AWAITING = Gauge(
    "signal_broker_signals_awaiting_record", "Accepted signals that are not recorded yet.", registry=REGISTRY
)
OLDEST_AWAITING = Gauge(
    "signal_broker_oldest_awaiting_record_seconds", "The age of the oldest of them.", registry=REGISTRY
)
BOOKS_KEPT = Gauge(
    "signal_broker_books_kept_timestamp_seconds", "When the books were last measured.", registry=REGISTRY
)
POISON = Gauge("signal_broker_poison", "Messages in a dead queue.", ["queue"], registry=REGISTRY)
LOSING_POLICIES = Gauge(
    "signal_broker_losing_policies",
    "1: a policy of RabbitMQ loses messages of this queue.",
    ["queue", "setting"],
    registry=REGISTRY,
)
PARTITIONS = Gauge("signal_broker_blocks", "Partitions, used and unused ones.", registry=REGISTRY)
OLDEST_SIGNAL = Gauge(
    "signal_broker_oldest_signal_seconds", "The age of the oldest signal that is kept.", registry=REGISTRY
)
DROPPED = _counter("signals_dropped", "Signals dropped after the retention.")
RETENTION_FAILURES = _counter("retention_failures", "Failures to create, empty, archive or drop partitions.")
POISONED = _counter("messages_poisoned", "Messages rejected to a dead queue.", "queue")
QUARANTINED = Gauge(
    "signal_broker_messages_quarantined",
    "Messages that failed alone and are tried again aside from the others.",
    ["queue"],
    registry=REGISTRY,
)
READY = Gauge("signal_broker_ready", "Whether the process is ready for work.", registry=REGISTRY)
ACCESS_UNCONFIRMED = Gauge(
    "signal_broker_access_unconfirmed",
    "1: PostgreSQL does not answer, and callers are known from before.",
    registry=REGISTRY,
)
REPEATS = _counter("repeats", "Work that was done again.", "cause")
CONNECTIONS = Gauge("signal_broker_http_connections", "Open connections of callers to the process.", registry=REGISTRY)
CONNECTIONS_CLOSED = _counter("http_connections_closed", "Connections of callers that the process closed.", "rule")


_EXPOSITIONS = 5
"""How often a second the metrics are written at most, for how many who ask."""


class Repeat(enum.StrEnum):
    """Why something was done again."""

    REDELIVERED = "redelivered"
    RESCUED = "rescued"
    RECORDED = "recorded"
    PUBLISHED = "published"
    RECONNECTED = "reconnected"


class Closing(enum.StrEnum):
    """Why the process closed a connection that was in use, or might have been."""

    HEAD = "head"
    IDLE = "idle"
    UNREAD = "unread"
    ENDING = "ending"
    LIMIT = "limit"


def _start_at_zero() -> None:
    """Make the series of labels that are known, so that an alert sees the first increase."""
    for cause in Repeat:
        REPEATS.labels(cause)
    for rule in Closing:
        CONNECTIONS_CLOSED.labels(rule)
    for exchange in (BROADCAST, ROUTED):
        TAP_REJECTIONS.labels(exchange)
    for queue in consumed_queues():
        POISONED.labels(queue)
    for kind in Kind:
        for counter in (DELIVERED, PARKED, DEAD):
            counter.labels(kind.value)
        for outcome in Outcome:
            ATTEMPTS.labels(kind.value, outcome.value)


_start_at_zero()


class Exposition:
    """Every metric as text. It takes milliseconds to write, so those who ask for it all the time get one of just now.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spare, self._at = float(_EXPOSITIONS), clock()
        self._text = b""

    def read(self) -> tuple[bytes, str]:
        """Return every metric in the OpenMetrics text format, and its content type."""
        now = self._clock()
        self._spare, self._at = min(_EXPOSITIONS, self._spare + (now - self._at) * _EXPOSITIONS), now
        if self._spare >= 1:
            self._spare -= 1
            self._text = generate_latest(REGISTRY)  # type: ignore[no-untyped-call]
        return self._text, CONTENT_TYPE
