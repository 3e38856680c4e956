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
"""Bytes of the values of those that are complete and worked on, which takes several times as much."""
_MEMBER, _CONTAINER, _ELEMENT = 40, 20, 4
"""What each colon, opening bracket or comma of a JSON text adds to its size: a fifth of the memory of its values."""
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


def weigh(body: bytes) -> int:
    """Return the size of the values in *body*, which is JSON: many small ones take more than their text."""
    if len(body) <= SMALL:
        return len(body)
    values = (
        _MEMBER * body.count(b":") + _CONTAINER * (body.count(b"{") + body.count(b"[")) + _ELEMENT * body.count(b",")
    )
    return len(body) + values


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

    The answer may be several times as large as the body, and stays in memory while the caller does not read it.
    """
    try:
        response = await handler(request)
        if _has_rooms(request):
            _count_answer(request, response)
            _give_back(request, WORK)
            with suppress(ConnectionError):  # aiohttp finds out itself
                await response.prepare(request)
                await response.write_eof()
        return response
    finally:
        if _has_rooms(request):
            _give_back(request, WORK, ARRIVAL)


def _count_answer(request: web.Request, response: web.StreamResponse) -> None:
    """Let bodies that arrive wait for an answer that is larger than the body that it is the answer to."""
    taken = request[_TAKEN]
    size = len(response.body) if isinstance(response, web.Response) and isinstance(response.body, bytes) else 0
    surplus = size - taken.get(ARRIVAL, 0)
    if surplus > 0:
        request.app[ARRIVAL].overdraw(surplus)
        taken[ARRIVAL] = size


def _has_rooms(request: web.Request) -> bool:
    # Most requests have no state at all; looking up what is not there costs several times as much as asking for that.
    return bool(len(request)) and _TAKEN in request


def _give_back(request: web.Request, *keys: web.AppKey[Budget]) -> None:
    for key in keys:
        request.app[key].give_back(request[_TAKEN].pop(key, 0))
