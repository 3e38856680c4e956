"""Rows of PostgreSQL as objects of the domain, and a subscription's spec as columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from cachetools import LRUCache

from broker.deliveries import (
    NO_OUTCOME,
    Attempt,
    Delivery,
    DeliveryState,
    DueAttempt,
    Exchange,
    Outcome,
    Reason,
    Result,
    Step,
)
from broker.filters import Filter, load_filter
from broker.names import is_pattern
from broker.reach import EVERYWHERE, Reach
from broker.signals import Scope, Signal, SignalState, Source, Throw
from broker.store.exchanges import unpack
from broker.store.postgres.database import Row
from broker.subscriptions import HeadOfLine, Subscription, SubscriptionSpec, are_steps
from broker.targets import HandlerTarget, PullTarget, QueueTarget, Target, load_target
from broker.topology import LEASED, attempt_queue
from broker.tracing import TraceContext


def read_due_attempts(rows: Sequence[Row]) -> list[DueAttempt]:
    """Return the attempts that are due in *rows* of ``signal_id``, ``subscription_id``, ``attempt`` and ``app``."""
    return [
        DueAttempt(row["signal_id"], row["subscription_id"], row["attempt"], attempt_queue(row["app"])) for row in rows
    ]


def read_delivery(row: Row, attempts: Sequence[Row] | None = None) -> Delivery:
    """Return the delivery in a row of ``deliveries``, with its attempts if their rows are given."""
    can_be_leased = row.get("app") == LEASED and row["state"] == "pending" and row["reason"] != Reason.LEASED
    return Delivery(
        signal_id=row["signal_id"],
        subscription_id=row["subscription_id"],
        state=DeliveryState(row["state"]),
        reason=row["reason"],
        due_at=None if can_be_leased else row["due_at"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        attempt_count=row["attempts"],
        attempts=None if attempts is None else tuple(map(read_attempt, attempts)),
    )


def read_attempt(row: Row) -> Attempt:
    """Return the attempt in a row of ``attempts``.

    Partitions that were detached under an earlier version lack the columns ``exchanges``, ``interrupted`` and
    ``worker``.
    """
    steps = () if row["steps"] is None else json.loads(row["steps"])
    exchanges = unpack(row.get("exchanges"), max(1, len(steps)))
    interrupted = row.get("interrupted")
    lost = Result(outcome=Outcome.INTERRUPTED, error=NO_OUTCOME)
    return Attempt(
        number=row["number"],
        started_at=row["started_at"],
        duration=None if interrupted else timedelta(seconds=row["duration"]),
        result=lost if interrupted else _read_result(row, exchanges[-1]),
        steps=tuple(_read_step(step, exchange) for step, exchange in zip(steps, exchanges, strict=False)),
        worker=row.get("worker"),
    )


def _read_step(columns: Mapping[str, Any], exchange: Exchange | None) -> Step:
    return Step(
        number=columns["step"],
        address=None,
        result=_read_result(columns, exchange),
        duration=timedelta(seconds=columns["duration"]),
        started_at=None if (began := columns.get("startedAt")) is None else datetime.fromisoformat(began),
    )


def _read_result(columns: Row | Mapping[str, Any], exchange: Exchange | None) -> Result:
    return Result(
        outcome=Outcome(columns["outcome"]),
        status=columns["status"],
        error=columns["error"],
        excerpt=columns["excerpt"],
        exchange=exchange,
    )


def read_signal(row: Row) -> Signal:
    """Return the signal in a row of ``signals``.

    Partitions that were detached under an earlier version lack the columns ``hops`` and ``tracestate``.
    """
    return Signal(
        id=row["id"],
        created_at=row["created_at"],
        state=SignalState(row["state"]),
        throw=Throw(
            name=row["name"],
            payload=row["payload"].encode(),
            types=json.loads(row["types"]),
            scope=Scope(row["scope"]),
            tenant_id=row["tenant_id"],
            execution_id=row["execution_id"],
            audience=None if row["reach"] is None else tuple(json.loads(row["reach"])),
            source=Source(row["source"]),
            source_id=row["source_id"],
            token_id=row["token_id"],
            business_key=row["business_key"],
            ordering_key=row["ordering_key"],
            deliver_at=row["deliver_at"],
            expires_at=row["expires_at"],
            trace=None if row["traceparent"] is None else TraceContext(row["traceparent"], row.get("tracestate")),
            hops=row.get("hops") or 0,
        ),
    )


def read_subscription(row: Row) -> Subscription:
    """Return the subscription in a row of ``subscriptions``."""
    options = {name: row[name] for name in _OPTIONS}
    for name, decode in _DECODERS.items():
        if options[name] is not None:
            options[name] = decode(options[name])
    return Subscription(
        id=row["id"],
        spec=SubscriptionSpec(targets=read_targets(row), **options),
        created_at=row["created_at"],
        created_by=row["created_by"],
        owner=_read_owner(row["owner_tenants"], row["owner_untenanted"]),
        since=row["since"],
        until=row["until"],
        consumed_by=row["consumed_by"],
        paused_at=row["paused_at"],
        disabled_because=row["disabled_because"],
    )


class SubscriptionReader:
    """Reads subscriptions, and remembers them: a row that is as it was means the subscription that was read then.

    Args:
        most: How many it remembers; those that were read longest ago are forgotten.
    """

    def __init__(self, most: int = 1000) -> None:
        self._known: LRUCache[int, tuple[Row, Subscription]] = LRUCache(most)

    def read(self, row: Row) -> Subscription:
        """Return the subscription in a row of ``subscriptions``; all rows have the same columns."""
        known = self._known.get(row["id"])
        if known is None or known[0] != row:
            known = self._known[row["id"]] = row, read_subscription(row)
        return known[1]


def read_candidate(row: Row) -> Subscription:
    """Return a subscription as far as it matters to matching and recording, from a row of candidates.sql.

    Everything else is as if it had not been given, and of its target there is the app only.
    """
    return Subscription(
        id=row["id"],
        spec=SubscriptionSpec(
            name=row["name"],
            targets=_targets_of(row["app"]),
            tenant_id=row["tenant_id"],
            execution_id=row["execution_id"],
            once=row["once"],
            filter=None if row["filter"] is None else _read_filter(row["filter"]),
            ordered=row["ordered"],
            max_in_flight=row["max_in_flight"],
            max_per_second=row["max_per_second"],
        ),
        created_at=row["created_at"],
        owner=_read_owner(row["owner_tenants"], row["owner_untenanted"]),
        since=row["since"],
        until=row["until"],
        consumed_by=row["consumed_by"],
        disabled_because=row["disabled_because"],
    )


@lru_cache(maxsize=1_000)
def _targets_of(app: str) -> tuple[Target, ...]:
    if app == LEASED:
        return (PullTarget(),)
    return (HandlerTarget(app=app, handler="") if app else QueueTarget(queue=""),)


def _read_owner(tenants: Sequence[str] | None, untenanted: bool) -> Reach:  # noqa: FBT001  (a column)
    return EVERYWHERE if tenants is None else Reach(tuple(tenants), untenanted)


@lru_cache(maxsize=10_000)
def _read_filter(text: str) -> Filter:
    return load_filter(json.loads(text))


_OPTIONS = tuple(field.name for field in fields(SubscriptionSpec) if field.name != "targets")
"""The options of a subscription; each has a column of the same name."""

_DECODERS: Mapping[str, Callable[[Any], object]] = {
    "correlation_keys": json.loads,
    "filter": _read_filter,
    "head_of_line": HeadOfLine,
    "schedule": lambda pauses: tuple(timedelta(seconds=seconds) for seconds in pauses),
    "timeout": lambda seconds: timedelta(seconds=seconds),
}
"""How the options whose columns are of another type are read."""


_TARGET_COLUMNS = ("kind", "address", "method", "body_template", "signatures", "sealed", "format", "request_origin")


def read_targets(row: Row) -> tuple[Target, ...]:
    """Return the target in a row of ``subscriptions``, or those of its steps."""
    if row["steps"] is not None:
        return tuple(load_target(step, description=step["description"]) for step in json.loads(row["steps"]))
    return (load_target({name: row[name] for name in _TARGET_COLUMNS} | {"headers": json.loads(row["headers"])}),)


SPEC_COLUMNS = (
    *_OPTIONS,
    *_TARGET_COLUMNS,
    *("headers", "is_pattern", "steps"),
)
"""The columns of ``subscriptions`` that hold a spec."""


def spec_columns(spec: SubscriptionSpec) -> dict[str, object]:
    """Return the columns of ``subscriptions`` that hold *spec*, as JSON."""
    return {
        **{name: _encode(getattr(spec, name)) for name in _OPTIONS},
        **target_columns(spec.targets),
        "is_pattern": is_pattern(spec.name),
    }


def target_columns(targets: Sequence[Target]) -> dict[str, object]:
    """Return the columns of ``subscriptions`` that hold *targets*, as JSON: one target, or several steps."""
    steps = [target.columns | {"description": target.description} for target in targets]
    return {**targets[0].columns, "steps": steps if are_steps(targets) else None}


def _encode(value: Any) -> object:
    match value:
        case timedelta():
            return value.total_seconds()
        case Filter():
            return value.document
        case tuple():
            return [_encode(part) for part in value]
        case _:
            return value
