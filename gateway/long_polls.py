"""Callers that wait for deliveries: how many may, and for how long they still may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from aiohttp import web

from broker.access import Principal
from broker.operations.leases import Leasing
from gateway.http_errors import Busy, HttpError

MOST = 1_000
"""How many may wait at a time: half of all connections."""
MOST_OF_ONE = 500
"""How many of them may be of one principal, so that it leaves places to others."""


def check_room(leasing: Leasing, wait: timedelta, principal: Principal) -> None:
    """Check that one more caller may wait, who is *principal*.

    Raises:
        Busy: Too many do.
    """
    if wait and leasing.waiting >= MOST:
        raise Busy(f"{MOST} callers wait for deliveries here already.")
    if wait and leasing.waiting >= MOST_OF_ONE and leasing.waiting_of(principal.key) >= MOST_OF_ONE:
        raise Busy(f"{MOST_OF_ONE} callers with these credentials wait for deliveries here already.")


async def may_go_on(
    request: web.Request, principal: Principal, identify: Callable[[web.Request], Awaitable[Principal]]
) -> bool:
    """Return whether the caller of *request* is still there, and still is *principal*, as *identify* has it now."""
    if request.transport is None or request.transport.is_closing():
        return False
    try:
        return await identify(request) == principal
    except HttpError:
        return False
