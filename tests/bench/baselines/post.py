"""A loop of POSTs with aiohttp's client, 200 at once: what sending a webhook costs at least."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp
import uvloop

from tests.bench.programs import write_json

AT_ONCE = 200


async def main(url: str, body: str, count: int) -> None:
    """Post *body* to *url* *count* times, and print how long it took, and how much CPU time."""
    numbers, data = iter(range(count)), body.encode()
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:

        async def sender() -> None:
            for _ in numbers:
                async with session.post(url, data=data) as response:
                    response.raise_for_status()

        start, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
        write_json({"elapsed": time.perf_counter() - start, "cpu": time.process_time() - used})


if __name__ == "__main__":
    uvloop.run(main(**json.load(sys.stdin)))
