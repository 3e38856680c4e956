"""Every request of the vectors against the running product, and what its receiver then holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
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
from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN, Client, client_of
from tests.support.receiver import receiver
from tests.support.throwing import subscribe


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
async def outcomes(product) -> AsyncIterator[dict[str, Outcome]]:
    """Return what came of every vector, each played on a subscription of its own."""
    async with client_of(product.url) as client, receiver() as webhooks, aiohttp.ClientSession() as session:

        async def play(vector: Vector, suffix: str) -> tuple[str, int, tuple[int, str | None, Any]]:
            waiting = await subscribe(
                client, f"sig{suffix}", webhooks.url(f"/{vector['id']}"), executionId=f"<EXEC>{suffix}", once=True
            )
            answer = await send(session, f"{product.url}/engine-rest", vector["request"], suffix)
            return vector["id"], waiting["id"], answer

        played = await asyncio.gather(*(play(v, v["id"][-3:]) for v in VECTORS if can_be_renamed(v)))
        for vector in VECTORS:
            if not can_be_renamed(vector):
                played.append(await play(vector, ""))
                await delivered(client)
                if not await consumed(client, played[-1][1]):
                    await client.request("DELETE", f"/v1/subscriptions/{played[-1][1]}")
        await delivered(client)
        received = {request.path[1:]: json.loads(request.body) for request in webhooks.requests}
        assert len(received) == len(webhooks.requests), "nobody receives twice"
        yield {
            vector: Outcome(*answer, received.get(vector), await consumed(client, waiting))
            for vector, waiting, answer in played
        }


def can_be_renamed(vector: Vector) -> bool:
    """Return whether the signal's name stands in the request as ASCII; else the vector has ``sig`` to itself."""
    return renamed(body_of(vector["request"]) or b"sig'", "0") != (body_of(vector["request"]) or b"sig'")


async def send(session, base, request, suffix) -> tuple[int, str | None, Any]:
    body = body_of(request)
    headers = {key: value for key, value in request["headers"].items() if value is not None}
    async with session.request(
        request["method"],
        URL(base + request["path"], encoded=True),
        data=None if body is None else renamed(body, suffix),
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}", **headers},
        skip_auto_headers=["Content-Type"],
    ) as response:
        text = await response.text()
        answer = json.loads(text.replace(f"<EXEC>{suffix}", "<EXEC>").replace(f"sig{suffix}", "sig")) if text else None
        return response.status, response.headers.get("Content-Type"), answer


async def delivered(client: Client) -> None:
    """Return once everything that was accepted is recorded and delivered."""

    async def is_quiet():
        books = await client.get("/v1/ledger")
        return not (books["awaitingRecord"] or books["deliveries"]["pending"] or books["deliveries"]["parked"])

    await eventually(is_quiet, within=30)


async def consumed(client: Client, subscription_id: int) -> bool:
    status, _, subscription = await client.request("GET", f"/v1/subscriptions/{subscription_id}")
    return status == 200 and subscription["consumedBy"] is not None


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_the_product_answers_and_delivers_as_camunda_does(outcomes, vector):
    ours = outcomes[vector["id"]]

    assert ours.status == expected_status(vector)
    if ours.body is None:
        assert ours.status == 204 or vector["request"]["method"] == "HEAD"
    else:
        assert ours.body == expected_error(vector, ours.body)
        assert ours.content_type == "application/json; charset=utf-8"
    assert ours.consumed == vector["subscription_consumed"]
    assert (ours.received is not None) == vector["subscription_consumed"]
    if ours.received is not None:
        check_variables(vector, ours.received["variables"])
