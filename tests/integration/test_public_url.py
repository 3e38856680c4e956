"""Every URL that is told is one at which callers reach the gateway."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from aiohttp import encode_basic_auth

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


@pytest.mark.slow
async def test_the_public_url_is_told_in_bodies_locations_and_the_description(public, name):
    assert await made_at(public, name, Host="evil.example", **FORWARDED) == f"{PUBLIC}/api/signal-endpoint/{name}"

    _, headers, accepted = await public.request("POST", "/v1/signals", json={"name": name})
    assert headers["Location"] == f"{PUBLIC}/v1/signals/{accepted['id']}"
    _, headers, _ = await public.request("POST", "/v1/tokens", json={"name": name, "permissions": ["signals:read"]})
    assert headers["Location"].startswith(f"{PUBLIC}/v1/")
    assert (await public.get("/openapi.json"))["servers"][0]["url"] == PUBLIC
    broker = (await public.get("/v2/topology"))["brokers"][0]
    assert (broker["host"], broker["port"]) == ("signals.example", 443)


async def test_without_settings_nothing_that_is_forwarded_is_believed(client, name):
    assert await made_at(client, name, **FORWARDED) == f"{client.url}/api/signal-endpoint/{name}"

    _, headers, accepted = await client.request("POST", "/v1/signals", json={"name": name})
    assert headers["Location"] == f"/v1/signals/{accepted['id']}"
    assert (await client.get("/openapi.json"))["servers"][0]["url"] == "/"


@pytest.mark.slow
async def test_a_trusted_proxy_is_believed(embedded_product, name):
    async with (
        embedded_product.sibling("gateway", TRUSTED_PROXIES="127.0.0.0/8, ::1/128") as gateway,
        client_of(gateway.url) as client,
    ):
        assert await made_at(client, name, **FORWARDED) == f"https://signals.example/api/signal-endpoint/{name}"


@pytest.mark.slow
async def test_sign_ins_count_for_the_address_that_a_trusted_proxy_tells(embedded_product, name):
    """30 failures of one caller behind the proxy are none of another's."""
    async with (
        embedded_product.sibling("gateway", TRUSTED_PROXIES="127.0.0.0/8, ::1/128") as gateway,
        client_of(gateway.url) as client,
    ):

        async def sign_in(number, address):
            headers = {
                "Authorization": encode_basic_auth(f"nobody-{name}-{number}", "wrong"),
                "X-Forwarded-For": address,
            }
            return (await client.caller("").request("GET", "/v1/signals", headers=headers))[0]

        flood = await asyncio.gather(*(sign_in(number, "192.0.2.7") for number in range(30)))
        assert (await sign_in(30, "192.0.2.8"), set(flood)) == (401, {401, 429})
