"""Every URL that is told is one at which callers reach the gateway."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.support.product import client_of

PUBLIC = "https://signals.example/broker"
FORWARDED = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "signals.example"}


@pytest.fixture
def name(name):
    """Return a name that an endpoint may have, too."""
    return name.lower().replace(".", "-")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def public_gateway(embedded_product):
    async with embedded_product.sibling("gateway", PUBLIC_URL=PUBLIC + "/") as gateway:
        yield gateway.url


@pytest.fixture
async def public(public_gateway):
    async with client_of(public_gateway) as client:
        yield client


async def made_at(client, name, **headers):
    """Return the URL of a new endpoint."""
    made = await client.post("/api/admin/signal-endpoints", {"name": name}, expect=201, **headers)
    return made["url"]


async def test_the_public_url_is_told_in_bodies_locations_and_the_description(public, name):
    assert await made_at(public, name, Host="evil.example", **FORWARDED) == f"{PUBLIC}/api/signal-endpoint/{name}"

    _, headers, accepted = await public.request("POST", "/v1/signals", json={"name": name})
    assert headers["Location"] == f"{PUBLIC}/v1/signals/{accepted['id']}"
    _, headers, _ = await public.request("POST", "/v1/tokens", json={"name": name, "permissions": ["signals:read"]})
    assert headers["Location"].startswith(f"{PUBLIC}/v1/")
    assert (await public.get("/openapi.json"))["servers"] == [{"url": PUBLIC}]
    broker = (await public.get("/v2/topology"))["brokers"][0]
    assert (broker["host"], broker["port"]) == ("signals.example", 443)


async def test_without_settings_nothing_that_is_forwarded_is_believed(client, name):
    assert await made_at(client, name, **FORWARDED) == f"{client.url}/api/signal-endpoint/{name}"

    _, headers, accepted = await client.request("POST", "/v1/signals", json={"name": name})
    assert headers["Location"] == f"/v1/signals/{accepted['id']}"
    assert "servers" not in await client.get("/openapi.json")


async def test_a_trusted_proxy_is_believed(embedded_product, name):
    async with (
        embedded_product.sibling("gateway", TRUSTED_PROXIES="127.0.0.0/8, ::1/128") as gateway,
        client_of(gateway.url) as client,
    ):
        assert await made_at(client, name, **FORWARDED) == f"https://signals.example/api/signal-endpoint/{name}"
