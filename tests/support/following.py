"""Following signals: the events of `GET /v1/signals/tail` as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

from tests.support.eventually import eventually
from tests.support.product import Client


class Tail:
    """The events that have come so far, as (id, event, data), and whether the answer, with its *headers*, has ended."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.events: list[tuple[int, str | None, Any]] = []
        self.begun = self.ended = False

    async def read(self, answer: aiohttp.ClientResponse) -> None:
        """Read them until the answer ends."""
        event: dict[str, str] = {}
        async for raw in answer.content:
            line = raw.decode().rstrip("\n")
            if line:
                field, _, value = line.partition(":")
                event[field] = value.strip()
            elif "data" in event:
                self.events.append((int(event.get("id", 0)), event.get("event"), json.loads(event["data"])))
                event = {}
            else:
                self.begun, event = True, {}
        self.ended = True

    @property
    def ids(self) -> list[int]:
        """The ids of the events."""
        return [event[0] for event in self.events]


@asynccontextmanager
async def following(
    client: Client,
    query: str = "",
    *,
    after: int | None = None,
    value: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Tail]:
    """Follow signals until the context is left: as the *client*, with the token *value*, or with other *headers*."""
    headers = dict(headers or {"Authorization": f"Bearer {value or client.token}"})
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    async with (
        aiohttp.ClientSession(read_bufsize=1 << 22) as session,
        session.get(f"{client.url}/v1/signals/tail{query}", headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        tail = Tail(answer.headers)
        reading = asyncio.create_task(tail.read(answer))
        await eventually(lambda: tail.begun)
        try:
            yield tail
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
