"""Rows become the domain's nouns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

from broker.deliveries import Due
from broker.filters import Filter, parse_filter
from broker.names import is_pattern
from broker.signals import Scope, Signal, Source, State, Throw
from broker.store.database import Row
from broker.subscriptions import HeadOfLine, Kind, Method, Scheme, Subscription, Target, Terms
from broker.topology import attempt_queue


def read_due(rows: Sequence[Row]) -> list[Due]:
    """Return the attempts that are due in *rows* of ``signal_id``, ``subscription_id``, ``attempt`` and ``app``."""
    return [Due(row["signal_id"], row["subscription_id"], row["attempt"], attempt_queue(row["app"])) for row in rows]


def read_signal(row: Row) -> Signal:
    """Return the signal in a row of ``signals``."""
    return Signal(
        id=row["id"],
        created_at=row["created_at"],
        state=State(row["state"]),
        throw=Throw(
            name=row["name"],
            payload=row["payload"].encode(),
            types=json.loads(row["types"]),
            scope=Scope(row["scope"]),
            tenant_id=row["tenant_id"],
            execution_id=row["execution_id"],
            reach=None if row["reach"] is None else tuple(json.loads(row["reach"])),
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
        terms=Terms(
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


def terms_columns(terms: Terms) -> dict[str, object]:
    """Return the columns of ``subscriptions`` that hold *terms*."""
    return {
        "name": terms.name,
        "is_pattern": is_pattern(terms.name),
        "tenant_id": terms.tenant_id,
        "execution_id": terms.execution_id,
        "once": terms.once,
        **_target_columns(terms.target),
        "steps": [_target_columns(target) | {"description": target.description} for target in terms.targets]
        if terms.in_steps
        else None,
        "filter": None if terms.filter is None else terms.filter.document,
        "ordered": terms.ordered,
        "head_of_line": terms.head_of_line.value,
        "schedule": [pause.total_seconds() for pause in terms.schedule],
        "timeout": None if terms.timeout is None else terms.timeout.total_seconds(),
        "max_in_flight": terms.max_in_flight,
        "max_per_second": terms.max_per_second,
        "description": terms.description,
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
