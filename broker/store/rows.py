"""Rows become the domain's nouns."""

from __future__ import annotations

import json
from datetime import timedelta

from broker.signals import Scope, Signal, Source, Throw
from broker.store.database import Row
from broker.subscriptions import Kind, Subscription, Target, Terms


def read_signal(row: Row) -> Signal:
    """Return the signal in a row of ``signals``."""
    return Signal(
        id=row["id"],
        created_at=row["created_at"],
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
            traceparent=row["traceparent"],
        ),
    )


def read_subscription(row: Row, prefix: str = "") -> Subscription:
    """Return the subscription in a row of ``subscriptions``; *prefix* is before the columns that would be ambiguous."""
    return Subscription(
        id=row["subscription_id" if prefix else "id"],
        terms=Terms(
            name=row[prefix + "name"],
            target=Target(kind=Kind(row["kind"]), address=row["address"], headers=json.loads(row["headers"])),
            tenant_id=row[prefix + "tenant_id"],
            execution_id=row[prefix + "execution_id"],
            once=row["once"],
            schedule=tuple(timedelta(seconds=seconds) for seconds in row["schedule"]),
            timeout=None if row["timeout"] is None else timedelta(seconds=row["timeout"]),
            description=row["description"],
        ),
        created_at=row[prefix + "created_at"],
        since=row["since"],
        until=row["until"],
        consumed_by=row["consumed_by"],
    )
