"""Rooms in memory, which large bodies share: one for those that arrive, a smaller one for those that are worked on."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from aiohttp import web
from aiohttp.typedefs import Handler

from broker.budgets import Budget
from gateway.http_errors import Busy

SMALL = 16 << 10
"""Bytes of a body that needs no room: small bodies never wait for large ones."""
MOST_ARRIVED = 8 << 20
"""Bytes of all other bodies, from the first byte until they are answered."""
MOST_WORK = 4 << 20
"""Bytes of those that are complete and worked on. That takes many times their size, in texts and buffers."""
MOST_WAITING = 100
"""How many requests wait for a room; of each, some 100 KiB have arrived."""
_RETRY_AFTER = 5
"""Seconds in which some of those that wait are answered: each takes a tenth of a second, or more on a busy machine."""

ARRIVAL = web.AppKey("arrival", Budget)
"""The room of bodies that arrive: a caller that sends slowly keeps none of the other."""
WORK = web.AppKey("work", Budget)
"""The room of bodies that are worked on."""
_TAKEN = "rooms"
"""The item of a request that says how many bytes it has of which room."""


def open_rooms(app: web.Application) -> None:
    """Make the rooms of *app*, whose outermost middleware has to be `give_back_rooms`."""
    app[ARRIVAL] = Budget(MOST_ARRIVED, most_waiting=MOST_WAITING)
    app[WORK] = Budget(MOST_WORK, most_waiting=MOST_WAITING)


async def take_room(request: web.Request, key: web.AppKey[Budget], size: int, *, within: timedelta) -> None:
    """Let a body of *size* bytes so far have so much of a room in all, unless it is small.

    Raises:
        Busy: There was no room for it in time, or too many wait for that.
    """
    if size <= SMALL:
        return
    taken = request.setdefault(_TAKEN, {})
    held = taken.get(key, 0)
    try:
        async with asyncio.timeout(within.total_seconds()):
            await request.app[key].take(size - held, held=held)
    except TimeoutError as error:
        message = "Too many large bodies are being worked on; try again in some seconds."
        raise Busy(message, retry_after=_RETRY_AFTER) from error
    taken[key] = size


@web.middleware
async def give_back_rooms(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give back what a large body took: the room of the work with the answer, the other once the answer is sent.

    The answer may be twice as large as the body, and stays in memory while the caller does not read it.
    """
    try:
        response = await handler(request)
        if _has_rooms(request):
            _give_back(request, WORK)
            with suppress(ConnectionError):  # aiohttp finds out itself
                await response.prepare(request)
                await response.write_eof()
        return response
    finally:
        if _has_rooms(request):
            _give_back(request, WORK, ARRIVAL)


def _has_rooms(request: web.Request) -> bool:
    # Most requests have no state at all; looking up what is not there costs several times as much as asking for that.
    return bool(len(request)) and _TAKEN in request


def _give_back(request: web.Request, *keys: web.AppKey[Budget]) -> None:
    for key in keys:
        request.app[key].give_back(request[_TAKEN].pop(key, 0))
