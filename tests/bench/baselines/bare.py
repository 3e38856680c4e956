"""A handler of aiohttp that only parses JSON: what HTTP itself costs, and the most that a load can reach."""

from __future__ import annotations

import orjson
import uvloop
from aiohttp import web

from tests.bench.baselines.serving import serve


async def parse(request: web.Request) -> web.Response:
    """Parse the body and answer."""
    orjson.loads(await request.read())
    return web.Response(status=204)


if __name__ == "__main__":
    uvloop.run(serve(parse))
