"""Offloading in the gateway: no request waits long for what is computed of another one's large body or answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from broker.offloading import Offloader

R = TypeVar("R")

OFFLOADER = web.AppKey("offloader", Offloader)


async def offload(request: web.Request, function: Callable[[], R], *, size: int) -> R:
    """Return the result of *function*, which *request* needs; *size* are the bytes that it is computed from."""
    return await request.app[OFFLOADER].run(function, size=size)
