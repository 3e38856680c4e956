"""Every request of the vectors against the running product, and what its receiver then holds."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from tests.compat.vectors import (
    VECTORS,
    Vector,
    body_of,
    check_variables,
    expected_error,
    expected_status,
    name_of,
    renamed,
)
from tests.support import throwing
from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN, Client, client_of
from tests.support.receiver import receiver
from tests.support.throwing import subscribe, throw

Answer = tuple[int, str | None, Any]
"""Status, content type, and the body as JSON."""


@dataclass(frozen=True)
class Outcome:
    """What came of one vector.

    Args:
        status: The answer's status.
        content_type: Its content type, if it has one.
        body: Its body, as JSON where it is.
        received: The document that the subscription received, if it did.
        consumed: Whether the subscription was consumed.
    """

    status: int
    content_type: str | None
    body: Any
    received: dict[str, Any] | None
    consumed: bool


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def outcomes(embedded_product) -> dict[str, Outcome]:
    """Return what came of every vector, each played on a subscription of its own."""
    async with client_of(embedded_product.url) as client, receiver() as webhooks, aiohttp.ClientSession() as session:
        turns = asyncio.Semaphore(16)  # a slow machine answers so many in time

        async def play(vector: Vector, suffix: str) -> tuple[str, int, Answer]:
            async with turns:
                url, execution = webhooks.url(f"/{vector['id']}"), f"<EXEC>{suffix}"
                waiting = await subscribe(client, f"sig{suffix}", url, executionId=execution, once=True)
                return vector["id"], waiting["id"], await send(session, embedded_product.url, vector["request"], suffix)

        start = (await throw(client, "start"))["id"]
        await throwing.recorded(client, start)  # so that all the others come after it
        played = await asyncio.gather(*(play(v, v["id"][-3:]) for v in VECTORS if can_be_renamed(v)))
        for vector in VECTORS:
            if not can_be_renamed(vector):
                played.append(await play(vector, ""))
                await recorded(client, start, played)
                if not await is_consumed(client, played[-1][1]):
                    await client.request("DELETE", f"/v1/subscriptions/{played[-1][1]}")
        await recorded(client, start, played)
        consumed = {vector for vector, waiting, _ in played if await is_consumed(client, waiting)}
        await eventually(lambda: len(webhooks.requests) >= len(consumed), within=30)
        received = {request.path[1:]: json.loads(request.body) for request in webhooks.requests}
        assert len(received) == len(webhooks.requests), "nobody receives twice"
        return {vector: Outcome(*answer, received.get(vector), vector in consumed) for vector, _, answer in played}


def can_be_renamed(vector: Vector) -> bool:
    """Return whether the signal's name stands in the request as ASCII; else the vector has ``sig`` to itself."""
    return renamed(body_of(vector["request"]) or b"sig'", "0") != (body_of(vector["request"]) or b"sig'")


async def send(session: aiohttp.ClientSession, url: str, request: dict[str, Any], suffix: str) -> Answer:
    body = body_of(request)
    headers = {key: value for key, value in request["headers"].items() if value is not None}
    async with session.request(
        request["method"],
        URL(f"{url}/engine-rest{request['path']}", encoded=True),
        data=None if body is None else renamed(body, suffix),
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}", **headers},
        skip_auto_headers=["Content-Type"],
    ) as response:
        text = await response.text()
        document = (
            json.loads(text.replace(f"<EXEC>{suffix}", "<EXEC>").replace(f"sig{suffix}", "sig")) if text else None
        )
        return response.status, response.headers.get("Content-Type"), document


async def recorded(client: Client, start: int, played: list[tuple[str, int, Answer]]) -> None:
    """Return once every signal that was accepted is recorded, and with it what it matched."""
    accepted = sum(status == 204 for _, _, (status, _, _) in played)

    async def is_done():
        page = await client.get(f"/v1/signals?source=camunda&afterId={start}&limit=1000")
        return len(page["items"]) == accepted

    await eventually(is_done, within=30)


async def is_consumed(client: Client, subscription_id: int) -> bool:
    status, _, subscription = await client.request("GET", f"/v1/subscriptions/{subscription_id}")
    return status == 200 and subscription["consumedBy"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_the_product_answers_and_delivers_as_camunda_does(outcomes, vector):
    ours = outcomes[vector["id"]]

    assert ours.status == expected_status(vector)
    if ours.body is None:
        assert ours.status == 204 or vector["request"]["method"] == "HEAD"
    else:
        assert ours.body == expected_error(vector, ours.body)
        assert ours.content_type == "application/json"
    assert ours.consumed == vector["subscription_consumed"]
    assert (ours.received is not None) == vector["subscription_consumed"]
    if ours.received is not None:
        check_variables(vector, ours.received["variables"])
