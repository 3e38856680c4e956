"""Clients that generators make of the OpenAPI document compile, and throw a first signal."""

from __future__ import annotations

import asyncio

import pytest

from tests.compat.clients.kinds import KINDS
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import recorded

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["openapi-python-client", "openapi-typescript", "@hey-api/openapi-ts"])
async def test_a_generated_client_throws_a_first_signal(product, client, tmp_path, kind):
    openapi = await client.get("/openapi.json")
    throw = await asyncio.to_thread(KINDS[kind], tmp_path, openapi)
    id_ = await asyncio.to_thread(throw, product.url, ADMIN_TOKEN, "clients.tried")
    assert (await recorded(client, id_))["payload"] == {"order": 7}
