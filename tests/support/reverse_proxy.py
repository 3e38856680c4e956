"""A reverse proxy with TLS, below a path that it strips, as operators put one before the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, socket

import aiohttp
from aiohttp import hdrs, web

from tests.support.certificates import Authority

HOST = "127.0.0.1"
_OF_CONNECTIONS = {"connection", "keep-alive", "transfer-encoding", "content-length"}
"""Headers of an answer that are about the connection it came over."""


class ReverseProxy:
    """What `reverse_proxy` yields: its own *url*, path included, and the *target* whose answers it gives."""

    def __init__(self, url: str, path: str) -> None:
        self.url = url
        self.target = ""
        self._path = path

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Answer as the target does, in the pieces in which it does."""
        if not request.raw_path.startswith(f"{self._path}/"):
            return web.Response(status=404)
        headers = request.headers.copy()
        headers["X-Forwarded-For"], headers["X-Forwarded-Proto"] = request.remote or "", "https"
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                self.target + request.raw_path.removeprefix(self._path),
                headers=headers,
                data=await request.read(),
                allow_redirects=False,
            ) as answer,
        ):
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in _OF_CONNECTIONS:
                    response.headers.add(name, value)
            await response.prepare(request)
            with suppress(ConnectionError):  # the caller hangs up
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
            return response


@asynccontextmanager
async def reverse_proxy(directory: Path, *, path: str) -> AsyncIterator[ReverseProxy]:
    """Yield a proxy on a free port, whose certificate is of an authority in *directory*; it needs a target yet."""
    with socket(AF_INET, SOCK_STREAM) as listening:
        listening.bind((HOST, 0))
        proxy = ReverseProxy(f"https://{HOST}:{listening.getsockname()[1]}{path}", path)
        app = web.Application()
        app.router.add_route(hdrs.METH_ANY, "/{path:.*}", proxy.pass_on)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            context = await asyncio.to_thread(Authority(directory).serving, HOST)
            await web.SockSite(runner, listening, ssl_context=context).start()
            yield proxy
        finally:
            await runner.cleanup()
