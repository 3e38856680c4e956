"""The same gateway of frameworks: FastAPI, and a publish of FastStream that waits for its confirm."""

from __future__ import annotations

import asyncio
import socket
import sys

import orjson
import uvicorn
import uvloop
from fastapi import FastAPI, Request
from faststream.rabbit import QueueType, RabbitBroker, RabbitQueue

from tests.bench.baselines import QUEUE


async def main(url: str) -> None:
    """Publish each body to a quorum queue."""
    broker = RabbitBroker(url, logger=None)
    await broker.connect()
    queue = RabbitQueue(QUEUE, durable=True, queue_type=QueueType.QUORUM)
    await broker.declare_queue(queue)
    app = FastAPI()

    @app.post("/", status_code=204)
    async def throw(request: Request) -> None:
        body = await request.body()
        orjson.loads(body)
        await broker.publish(body, queue, persist=True)

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning"))
    serving = asyncio.create_task(server.serve([listener]))
    print("ready http://{}:{}".format(*listener.getsockname()), flush=True)
    await serving


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
