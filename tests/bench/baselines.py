"""What a throw is measured against: a handler that only parses JSON, and one that publishes as one usually does.

python -m tests.bench.baselines bare
python -m tests.bench.baselines publish amqp://...
"""

from __future__ import annotations

import asyncio
import json
import sys

import aio_pika  # noqa: TID251  (the baseline is what one usually writes)
import uvloop
from aiohttp import web


async def bare(request: web.Request) -> web.Response:
    """Parse the body and answer."""
    json.loads(await request.read())
    return web.Response(status=204)


async def publishing(url: str) -> web.Application:
    """An application that publishes each body through aio-pika and waits for its confirm."""
    connection = await aio_pika.connect_robust(url)
    channel = await connection.channel(on_return_raises=True)
    queue = await channel.declare_queue("bench", durable=True, arguments={"x-queue-type": "quorum"})

    async def publish(request: web.Request) -> web.Response:
        body = await request.read()
        json.loads(body)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue.name)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", publish)
    return app


async def main(kind: str, url: str = "") -> None:
    """Serve on a free port and say which."""
    if kind == "bare":
        app = web.Application()
        app.router.add_post("/", bare)
    else:
        app = await publishing(url)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    print(f"ready http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
