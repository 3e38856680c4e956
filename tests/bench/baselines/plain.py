"""A gateway as one usually writes it: aiohttp, and a publish of aio-pika that waits for its confirm."""

from __future__ import annotations

import sys

import aio_pika
import orjson
import uvloop
from aiohttp import web

from tests.bench.baselines import QUEUE, QUORUM
from tests.bench.baselines.serving import serve


async def main(url: str) -> None:
    """Publish each body to a quorum queue."""
    connection = await aio_pika.connect_robust(url)
    channel = await connection.channel(on_return_raises=True)
    queue = await channel.declare_queue(QUEUE, durable=True, arguments=QUORUM)

    async def publish(request: web.Request) -> web.Response:
        body = await request.read()
        orjson.loads(body)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue.name)
        return web.Response(status=204)

    await serve(publish)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
