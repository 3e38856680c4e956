"""Redriving and replaying over HTTP: each request runs for a limited time, and its answer says where to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from aiohttp import web

from broker.errors import InvalidField
from broker.limits import Pace
from broker.moments import next_millisecond, show_moment
from broker.schemas import BulkRequest, BulkResult
from broker.store.deliveries.bulk import BulkProgress
from gateway.callers import is_gone

MOST = 100_000
"""How many deliveries or signals one request looks at."""
LONGEST = timedelta(seconds=10)
"""How long one request takes."""
_AHEAD = timedelta(days=3660)
"""How far ahead deliveries are scheduled."""


def read_after(wanted: BulkRequest) -> tuple[str | None, Pace]:
    """Return the id after which to go on, and the pace, which goes on as well.

    Raises:
        InvalidField: `after` is not the `next` of an answer.
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
    """Return the error about an `after` that is not the `next` of an answer."""
    return InvalidField("/after", "must be `next` of the previous answer")


async def run_within_limits(request: web.Request, chunks: AsyncIterator[BulkProgress], pace: Pace) -> BulkResult:
    """Run as many of *chunks* as *request* may, while its caller is there.

    Return the count, and where the next request goes on.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + LONGEST.total_seconds()
    count = looked = 0
    async for chunk in chunks:
        count += chunk.count
        looked += chunk.looked
        if chunk.after is not None and (looked >= MOST or clock() >= end or is_gone(request)):
            return BulkResult(count=count, next=_next(chunk.after, pace))
    return BulkResult(count=count, next=None)


def _next(after: str, pace: Pace) -> str:
    return after if pace.per_second is None or pace.at is None else f"{after}@{show_moment(next_millisecond(pace.at))}"
