"""Rows of PostgreSQL as objects of the domain, and a subscription's spec as columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

from broker.deliveries import Attempt, Delivery, DeliveryState, DueAttempt, Outcome, Result, Step
from broker.filters import Filter, parse_filter
from broker.names import is_pattern
from broker.signals import Scope, Signal, SignalState, Source, Throw
from broker.store.postgres.database import Row
from broker.subscriptions import HeadOfLine, Kind, Method, Scheme, Subscription, SubscriptionSpec, Target
from broker.topology import attempt_queue


def read_due_attempts(rows: Sequence[Row]) -> list[DueAttempt]:
    """Return the attempts that are due in *rows* of ``signal_id``, ``subscription_id``, ``attempt`` and ``app``."""
    return [
        DueAttempt(row["signal_id"], row["subscription_id"], row["attempt"], attempt_queue(row["app"])) for row in rows
    ]


def read_delivery(row: Row, attempts: Sequence[Row] | None = None) -> Delivery:
    """Return the delivery in a row of ``deliveries``, with its attempts if their rows are given."""
    return Delivery(
        signal_id=row["signal_id"],
        subscription_id=row["subscription_id"],
        state=DeliveryState(row["state"]),
        reason=row["reason"],
        due_at=row["due_at"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        attempt_count=row["attempts"],
        attempts=None if attempts is None else tuple(map(read_attempt, attempts)),
    )


def read_attempt(row: Row) -> Attempt:
    """Return the attempt in a row of ``attempts``."""
    return Attempt(
        number=row["number"],
        started_at=row["started_at"],
        duration=timedelta(seconds=row["duration"]),
        result=_read_result(row),
        steps=() if row["steps"] is None else tuple(map(_read_step, json.loads(row["steps"]))),
    )


def _read_step(columns: Mapping[str, Any]) -> Step:
    return Step(
        number=columns["step"],
        address=None,
        result=_read_result(columns),
        duration=timedelta(seconds=columns["duration"]),
    )


def _read_result(columns: Row | Mapping[str, Any]) -> Result:
    return Result(
        outcome=Outcome(columns["outcome"]),
        status=columns["status"],
        error=columns["error"],
        excerpt=columns["excerpt"],
    )


def read_signal(row: Row) -> Signal:
    """Return the signal in a row of ``signals``."""
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
            traceparent=row["traceparent"],
        ),
    )


def read_subscription(row: Row) -> Subscription:
    """Return the subscription in a row of ``subscriptions``."""
    return Subscription(
        id=row["id"],
        spec=SubscriptionSpec(
            name=row["name"],
            targets=_read_targets(row),
            tenant_id=row["tenant_id"],
            execution_id=row["execution_id"],
            once=row["once"],
            filter=None if row["filter"] is None else _read_filter(row["filter"]),
            ordered=row["ordered"],
            head_of_line=HeadOfLine(row["head_of_line"]),
            schedule=tuple(timedelta(seconds=seconds) for seconds in row["schedule"]),
            timeout=None if row["timeout"] is None else timedelta(seconds=row["timeout"]),
            max_in_flight=row["max_in_flight"],
            max_per_second=row["max_per_second"],
            description=row["description"],
        ),
        created_at=row["created_at"],
        since=row["since"],
        until=row["until"],
        consumed_by=row["consumed_by"],
        paused_at=row["paused_at"],
        disabled_because=row["disabled_because"],
    )


@lru_cache(maxsize=10_000)
def _read_filter(text: str) -> Filter:
    return parse_filter(json.loads(text))


def _read_targets(row: Row) -> tuple[Target, ...]:
    if row["steps"] is not None:
        return tuple(replace(_read_target(step), description=step["description"]) for step in json.loads(row["steps"]))
    return (_read_target(dict(row) | {"headers": json.loads(row["headers"])}),)


def _read_target(columns: Mapping[str, Any]) -> Target:
    return Target(
        kind=Kind(columns["kind"]),
        address=columns["address"],
        method=Method(columns["method"]),
        headers=columns["headers"],
        body_template=columns["body_template"],
        signatures=tuple(map(Scheme, columns["signatures"])),
    )


def spec_columns(spec: SubscriptionSpec) -> dict[str, object]:
    """Return the columns of ``subscriptions`` that hold *spec*."""
    return {
        "name": spec.name,
        "is_pattern": is_pattern(spec.name),
        "tenant_id": spec.tenant_id,
        "execution_id": spec.execution_id,
        "once": spec.once,
        **_target_columns(spec.target),
        "steps": [_target_columns(target) | {"description": target.description} for target in spec.targets]
        if spec.in_steps
        else None,
        "filter": None if spec.filter is None else spec.filter.document,
        "ordered": spec.ordered,
        "head_of_line": spec.head_of_line.value,
        "schedule": [pause.total_seconds() for pause in spec.schedule],
        "timeout": None if spec.timeout is None else spec.timeout.total_seconds(),
        "max_in_flight": spec.max_in_flight,
        "max_per_second": spec.max_per_second,
        "description": spec.description,
    }


def _target_columns(target: Target) -> dict[str, object]:
    return {
        "kind": target.kind.value,
        "address": target.address,
        "method": target.method.value,
        "headers": dict(target.headers),
        "body_template": target.body_template,
        "signatures": [scheme.value for scheme in target.signatures],
    }
