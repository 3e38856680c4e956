"""What is redriven or replayed: as much of it as one request does, within what its caller may see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.access import Principal
from broker.errors import InvalidField
from broker.limits import Pace
from broker.names import check_name
from broker.store.deliveries.bulk import BulkProgress, SignalFilter
from gateway.schemas import BulkRequest, BulkResult

MOST = 100_000
"""How many one request looks at."""
LONGEST = timedelta(seconds=10)
"""How long one request goes on."""
_AHEAD = timedelta(days=3660)
"""How far ahead moments are given out."""


def read_signal_filter(wanted: BulkRequest, principal: Principal) -> SignalFilter:
    """Return what is *wanted*, as far as *principal* sees it.

    Raises:
        InvalidField: The name cannot be one.
    """
    if wanted.name is not None:
        check_name(wanted.name)
    return SignalFilter(
        name=wanted.name, since=wanted.since, until=wanted.until, names=principal.names, tenants=principal.tenants
    )


def read_after(wanted: BulkRequest) -> tuple[str | None, Pace]:
    """Return after which id to go on, and the pace, which goes on as well.

    Raises:
        InvalidField: `after` is no `next`.
    """
    if wanted.after is None:
        return None, Pace(wanted.per_second)
    last, separator, moment = wanted.after.partition("@")
    try:
        at = datetime.fromisoformat(moment).astimezone(UTC) if separator else None
    except (ValueError, OverflowError):
        raise not_next() from None
    if at is not None and at - datetime.now(UTC) > _AHEAD:
        raise InvalidField("/perSecond", f"is too slow: it would take more than {_AHEAD.days} days")
    return last, Pace(wanted.per_second, at)


def not_next() -> InvalidField:
    """Return the error about an `after` that is no `next`."""
    return InvalidField("/after", "must be `next` of the answer before")


async def do_some(chunks: AsyncIterator[BulkProgress], pace: Pace) -> BulkResult:
    """Do *chunks*, as many as one request may; return what came of them, and where the next request goes on."""
    clock = asyncio.get_running_loop().time
    end = clock() + LONGEST.total_seconds()
    count = looked = 0
    async for chunk in chunks:
        count += chunk.count
        looked += chunk.looked
        if chunk.after is not None and (looked >= MOST or clock() >= end):
            return BulkResult(count=count, next=_next(chunk.after, pace))
    return BulkResult(count=count, next=None)


def _next(after: str, pace: Pace) -> str:
    return after if pace.per_second is None or pace.at is None else f"{after}@{pace.at.isoformat()}"


def bulk_snapshot(wanted: BulkRequest) -> Mapping[str, Any]:
    """Return *wanted* as an audit event shows it."""
    return wanted.model_dump(mode="json", by_alias=True, exclude_none=True)
