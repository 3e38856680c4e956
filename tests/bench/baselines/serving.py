"""Serves an application of aiohttp as the product does: on uvloop, without a log of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web


async def serve(handler: Callable[[web.Request], Awaitable[web.Response]]) -> None:
    """Let *handler* answer posts to a free port, and print where."""
    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    print(f"ready http://{host}:{port}", flush=True)
    await asyncio.Event().wait()
