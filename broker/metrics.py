"""Every metric of the product, in one table; exposed on ``/metrics``.

| metric | labels | counts |
|---|---|---|
| signal_broker_signals_accepted_total | source, scope | throws answered with a 2xx |
| signal_broker_signals_refused_total | source, status | throws answered with anything else |
| signal_broker_accept_seconds | source | the time from a throw's request to its answer |
| signal_broker_numbering_seconds | | round trips that number throws, of any number of throws each |
| signal_broker_confirm_seconds | | from a signal being published to the record queue's confirm |
| signal_broker_tap_rejections_total | exchange | fan-outs not confirmed because of a tap; recorded all the same |
| signal_broker_signals_recorded_total | | signals recorded |
| signal_broker_record_lag_seconds | | from a signal's acceptance to its recording |
| signal_broker_batch_messages | queue | messages that a consumer handles at a time |
| signal_broker_batches_postponed_total | queue | batches that were tried again after a pause |
| signal_broker_deliveries_matched_total | | deliveries owed at once, without those of scheduled signals |
| signal_broker_filters_exceeded_total | | deliveries that are dead because a filter exceeded its budget of time |
| signal_broker_attempts_total | kind, outcome | attempts made |
| signal_broker_attempt_seconds | kind | the duration of attempts |
| signal_broker_deliveries_delivered_total | kind | successful deliveries |
| signal_broker_deliveries_parked_total | kind | attempts that ended with the delivery parked |
| signal_broker_deliveries_dead_total | kind | deliveries given up after an attempt |
| signal_broker_deliveries | state | all deliveries by the ledger, however they ended (*) |
| signal_broker_most_dead_deliveries | subscription_id | dead deliveries of the ten subscriptions that have most (*) |
| signal_broker_oldest_pending_seconds | | for how long the oldest delivery has been waiting in its queue (*) |
| signal_broker_oldest_leasable_seconds | subscription_id | how long its oldest delivery has waited for a lease (*) |
| signal_broker_delivery_lag_seconds | kind | from a signal's acceptance to its successful delivery |
| signal_broker_deliveries_expired_total | | deliveries cancelled because their signal expired |
| signal_broker_deliveries_repaired_total | | deliveries rescued: their message was presumed lost |
| signal_broker_deliveries_held_back_total | reason | deliveries whose attempt admission deferred or denied |
| signal_broker_deliveries_left_total | queue | due messages that their queue did not accept; rescued later |
| signal_broker_deliveries_moved_total | | due messages that were moved to the slow lane |
| signal_broker_subscriptions_disabled_total | | subscriptions disabled because their target answered 410 |
| signal_broker_circuits_opened_total | | circuits opened, and opened again after a failed probe |
| signal_broker_circuits_open | | circuits that are not closed (*) |
| signal_broker_circuits_lasting | | circuits of targets down for minutes, waited for by active subscriptions (*) |
| signal_broker_oldest_held_seconds | | the age of the oldest waiting delivery (*) |
| signal_broker_unaccounted | | `unaccounted` of the ledger; not 0 is a defect (*) |
| signal_broker_signals_lost | | accepted signals that are lost (*) |
| signal_broker_signals_poisoned | | accepted signals that were seen in the dead queue (*) |
| signal_broker_signals_awaiting_record | | `awaitingRecord` of the ledger (*) |
| signal_broker_oldest_awaiting_record_seconds | | the age of the oldest of them (*) |
| signal_broker_messages_buffered | | `bufferedMessages` of the ledger (*) |
| signal_broker_queue_messages | queue | messages that wait in a queue for a consumer (*) |
| signal_broker_poison | queue | messages in a dead queue (*) |
| signal_broker_books_kept_timestamp_seconds | | when the books were last measured (*) |
| signal_broker_losing_policies | queue, setting | 1: a policy of RabbitMQ loses messages (*) |
| signal_broker_blocks | | partitions, used and unused ones (*) |
| signal_broker_oldest_signal_seconds | | the age of the oldest signal that is kept (*) |
| signal_broker_signals_dropped_total | | signals dropped after the retention |
| signal_broker_retention_failures_total | | failures to create, empty, archive or drop partitions |
| signal_broker_messages_poisoned_total | queue | messages rejected to a dead queue |
| signal_broker_messages_quarantined | queue | messages that failed alone and are tried again aside from the others |
| signal_broker_access_unconfirmed | | 1: PostgreSQL does not answer, and callers are known from before |
| signal_broker_issuer_available | | 1: the issuer of tokens gave its keys when it was asked last, or there is none |
| signal_broker_check_passed | check | 1: this check of `/readyz` passes: `store`, `transport`, a role and the like |
| signal_broker_store_connections | state | connections of the pool to PostgreSQL: idle, used |
| signal_broker_store_connections_limit | | how many there may be |
| signal_broker_loop_lag_seconds | | how much later than wanted the event loop wakes a task |
| signal_broker_build_info | version | 1 |
| signal_broker_role | role | 1: the process is one: `gateway`, `recorder`, `deliverer`, `scheduler`, `handlers` |
| process_..., python_... | | what prometheus-client has of any process: CPU, memory, files, garbage |
| signal_broker_ready | | whether the process can do all of its work: every check of `/readyz` |
| signal_broker_repeats_total | cause | work that was done again (see below) |
| signal_broker_http_request_seconds | method, route, status | from a request's head to that of its answer (see below) |
| signal_broker_http_connections | | open connections of callers to the process (see below) |
| signal_broker_http_connections_closed_total | rule | connections of callers that the process closed (see below) |
| signal_broker_spans_dropped_total | reason | spans of traces that the collector did not get |

| cause | means |
|---|---|
| redelivered | an attempt in place of one that was interrupted: the deliverer of that lost its link, or ended |
| rescued | a delivery rescued whose attempt was interrupted: it left no outcome in time |
| recorded | a signal that was recorded already when the recorder got it, as each message of Camunda's clients is |
| published | a signal published again, because the first publish was not confirmed |
| reconnected | a webhook sent again within its attempt, because the connection that was kept gave no answer to it |

| rule | means |
|---|---|
| head | the headers of a request did not arrive in time |
| idle | no further request came in time |
| unread | the caller did not read its answer in time |
| ending | after the last answer, the caller did not close it in time |
| limit | there were as many connections as there may be, and this one had waited longest |

A connection is a caller's unless its last request was for `/livez`, `/readyz` or `/metrics`, or it came to
`SIGNAL_BROKER_METRICS_PORT`. Both metrics leave out those of probes and scrapers; `SIGNAL_BROKER_HTTP_CONNECTIONS`
includes those that came to the port of the API.

A route is a path as the API's description has it: `/v1/signals/{id}`. All requests to unknown paths, by a method that a
path does not have, or that cannot be read have the route `other`. A status is a class: `2xx`, `5xx`.

(*) One scheduler measures it for all: no other process has the series, nor has that one before the first measurement,
so a sum over all processes is right.

Counters whose labels are known exist from the start, at 0.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric

from broker.deliveries import Outcome, Reason
from broker.signals import Scope, Source
from broker.targets import Kind
from broker.topology import BROADCAST, LANES, ROUTED, consumed_queues
from broker.tracing import Dropping

disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of all series, of which only the process's start is news
REGISTRY = CollectorRegistry()
for _collector in (ProcessCollector, PlatformCollector, GCCollector):
    _collector(registry=REGISTRY)
_REFUSALS = ("400", "401", "403", "429", "500", "503")
"""The statuses that most refused throws are answered with."""
_HTTP_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Fewer, because each route has them several times."""
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


_measures: list[Measure] = []


class Measure:
    """A gauge that one process measures for all. It has the series that were set since it was last cleared."""

    def __init__(self, name: str, meaning: str, *labels: str) -> None:
        self._name = f"signal_broker_{name}"
        self._meaning = meaning
        self._labels = labels
        self._values: dict[tuple[str, ...], float] = {}
        REGISTRY.register(self)
        _measures.append(self)

    def set(self, value: float, *labels: str) -> None:
        """Set the series with the values of its *labels*."""
        self._values[labels] = value

    def clear(self) -> None:
        """Take all series away."""
        self._values.clear()

    def collect(self) -> list[Metric]:
        """Return the series, for the registry."""
        family = GaugeMetricFamily(self._name, self._meaning, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return [family]

    def describe(self) -> list[Metric]:
        """Return what it is, for the registry."""
        return [GaugeMetricFamily(self._name, self._meaning, labels=self._labels)]


def forget_measures() -> None:
    """Take all series away that one process measures for all: it may be another one from now on."""
    for measure in _measures:
        measure.clear()


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"signal_broker_{name}", meaning, labels, registry=REGISTRY)


def _seconds(name: str, meaning: str, *labels: str, buckets: Sequence[float] = _BUCKETS) -> Histogram:
    return Histogram(f"signal_broker_{name}_seconds", meaning, labels, registry=REGISTRY, buckets=buckets)


ACCEPTED = _counter("signals_accepted", "Throws answered with a 2xx.", "source", "scope")
REFUSED = _counter("signals_refused", "Throws answered with anything but a 2xx.", "source", "status")
ACCEPT_SECONDS = _seconds("accept", "The time from a throw's request to its answer.", "source")
NUMBERING_SECONDS = _seconds("numbering", "Round trips that number throws.")
CONFIRM_SECONDS = _seconds("confirm", "From a signal being published to the record queue's confirm.")
TAP_REJECTIONS = _counter("tap_rejections", "Fan-outs not confirmed because of a tap.", "exchange")
RECORDED = _counter("signals_recorded", "Signals recorded.")
RECORD_LAG = _seconds("record_lag", "From a signal's acceptance to its recording.")
BATCH_MESSAGES = Histogram(
    "signal_broker_batch_messages",
    "Messages that a consumer handles at a time.",
    ["queue"],
    registry=REGISTRY,
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
BATCHES_POSTPONED = _counter("batches_postponed", "Batches that were tried again after a pause.", "queue")
MATCHED = _counter("deliveries_matched", "Deliveries owed at once.")
FILTERS_EXCEEDED = _counter(
    "filters_exceeded", "Deliveries that are dead because a filter exceeded its budget of time."
)
ATTEMPTS = _counter("attempts", "Attempts made.", "kind", "outcome")
ATTEMPT_SECONDS = _seconds("attempt", "The duration of attempts.", "kind")
DELIVERED = _counter("deliveries_delivered", "Successful deliveries.", "kind")
PARKED = _counter("deliveries_parked", "Attempts that ended with the delivery parked.", "kind")
DEAD = _counter("deliveries_dead", "Deliveries given up after an attempt.", "kind")
DELIVERIES = Measure("deliveries", "Deliveries, as the ledger has them.", "state")
MOST_DEAD = Measure(
    "most_dead_deliveries", "Dead deliveries of the ten subscriptions that have most.", "subscription_id"
)
OLDEST_PENDING = Measure("oldest_pending_seconds", "For how long the oldest delivery has been waiting in its queue.")
OLDEST_LEASABLE = Measure(
    "oldest_leasable_seconds",
    "For how long the oldest delivery has waited to be leased, of the ten subscriptions that wait longest.",
    "subscription_id",
)
DELIVERY_LAG = _seconds("delivery_lag", "From a signal's acceptance to its successful delivery.", "kind")
EXPIRED = _counter("deliveries_expired", "Deliveries cancelled because their signal had expired.")
RESCUED = _counter("deliveries_repaired", "Deliveries whose message was presumed lost and published again.")
HELD_BACK = _counter("deliveries_held_back", "Deliveries whose attempt admission deferred or denied.", "reason")
LEFT = _counter("deliveries_left", "Due messages that their queue did not accept.", "queue")
MOVED = _counter("deliveries_moved", "Due messages that were moved to the slow lane.")
DISABLED = _counter("subscriptions_disabled", "Subscriptions disabled because their target answered 410.")
CIRCUITS_OPENED = _counter("circuits_opened", "Circuits opened, and opened again after a failed probe.")
CIRCUITS = Measure("circuits_open", "Circuits that are not closed.")
LASTING_CIRCUITS = Measure("circuits_lasting", "Circuits of targets that have been down for long, and are waited for.")
OLDEST_HELD = Measure("oldest_held_seconds", "The age of the oldest waiting delivery.")
UNACCOUNTED = Measure("unaccounted", "Accepted signals and owed deliveries that are nowhere.")
LOST = Measure("signals_lost", "Accepted signals that are lost.")
POISONED_SIGNALS = Measure("signals_poisoned", "Accepted signals that were seen in the dead queue.")
AWAITING = Measure("signals_awaiting_record", "Accepted signals that are not recorded yet.")
OLDEST_AWAITING = Measure("oldest_awaiting_record_seconds", "The age of the oldest of them.")
BUFFERED = Measure("messages_buffered", "Messages of Camunda 8 that wait for a subscription.")
BOOKS_KEPT = Measure("books_kept_timestamp_seconds", "When the books were last measured.")
QUEUED = Measure("queue_messages", "Messages that wait in a queue for a consumer.", "queue")
POISON = Measure("poison", "Messages in a dead queue.", "queue")
LOSING_POLICIES = Measure(
    "losing_policies", "1: a policy of RabbitMQ loses messages of this queue.", "queue", "setting"
)
PARTITIONS = Measure("blocks", "Partitions, used and unused ones.")
OLDEST_SIGNAL = Measure("oldest_signal_seconds", "The age of the oldest signal that is kept.")
DROPPED = _counter("signals_dropped", "Signals dropped after the retention.")
RETENTION_FAILURES = _counter("retention_failures", "Failures to create, empty, archive or drop partitions.")
POISONED = _counter("messages_poisoned", "Messages rejected to a dead queue.", "queue")
QUARANTINED = Gauge(
    "signal_broker_messages_quarantined",
    "Messages that failed alone and are tried again aside from the others.",
    ["queue"],
    registry=REGISTRY,
)
CHECK_PASSED = Gauge("signal_broker_check_passed", "1: this check of /readyz passes.", ["check"], registry=REGISTRY)
STORE_CONNECTIONS = Gauge(
    "signal_broker_store_connections", "Connections of the pool to PostgreSQL.", ["state"], registry=REGISTRY
)
STORE_CONNECTIONS_LIMIT = Gauge("signal_broker_store_connections_limit", "How many there may be.", registry=REGISTRY)
LOOP_LAG = _seconds("loop_lag", "How much later than wanted the event loop wakes a task.")
BUILD = Gauge("signal_broker_build_info", "The version of the process.", ["version"], registry=REGISTRY)
ROLE = Gauge("signal_broker_role", "1: the process has this role.", ["role"], registry=REGISTRY)
READY = Gauge("signal_broker_ready", "Whether the process is ready for work.", registry=REGISTRY)
ACCESS_UNCONFIRMED = Gauge(
    "signal_broker_access_unconfirmed",
    "1: PostgreSQL does not answer, and callers are known from before.",
    registry=REGISTRY,
)
ISSUER_AVAILABLE = Gauge(
    "signal_broker_issuer_available",
    "1: the issuer of tokens gave its keys when it was asked last, or there is none.",
    registry=REGISTRY,
)
ISSUER_AVAILABLE.set(1)
REPEATS = _counter("repeats", "Work that was done again.", "cause")
HTTP_SECONDS = _seconds(
    "http_request",
    "From a request's head to the head of its answer.",
    "method",
    "route",
    "status",
    buckets=_HTTP_BUCKETS,
)
CONNECTIONS = Gauge("signal_broker_http_connections", "Open connections of callers to the process.", registry=REGISTRY)
SPANS_DROPPED = _counter("spans_dropped", "Spans of traces that the collector did not get.", "reason")
CONNECTIONS_CLOSED = _counter("http_connections_closed", "Connections of callers that the process closed.", "rule")


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


_KNOWN: tuple[tuple[Counter, Iterable[tuple[str, ...]]], ...] = (
    (REPEATS, product(Repeat)),
    (CONNECTIONS_CLOSED, product(Closing)),
    (SPANS_DROPPED, product(Dropping)),
    (TAP_REJECTIONS, product((BROADCAST, ROUTED))),
    (POISONED, product(consumed_queues())),
    (BATCHES_POSTPONED, product(consumed_queues())),
    (LEFT, product(LANES)),
    (ACCEPTED, product(Source, Scope)),
    (REFUSED, product(Source, _REFUSALS)),
    (HELD_BACK, product((*Reason, "disabled"))),
    (DELIVERED, product(Kind)),
    (PARKED, product(Kind)),
    (DEAD, product(Kind)),
    (ATTEMPTS, product(Kind, Outcome)),
)
"""The labels that are known: their series exist from the start, so that an alert sees the first increase."""

for _known, _series in _KNOWN:
    for _labels in _series:
        _known.labels(*_labels)


def note_dropped_spans(reason: Dropping, count: int) -> None:
    """Count spans that the collector did not get."""
    SPANS_DROPPED.labels(reason).inc(count)
