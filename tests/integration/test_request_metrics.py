"""Metrics of requests: their number, their answers and their times, for each route."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.exposition import read_samples
from tests.support.product import Process, client_of
from tests.support.proxy import proxy


@pytest.fixture
async def fresh(database_url, tmp_path):
    """Return a client of a gateway of this test's own, and the proxy between the gateway and its PostgreSQL."""
    async with proxy(database_url) as link:
        environment = {"STORE_URL": link.url, "DATA_DIR": str(tmp_path), "STORE_TIMEOUT_SECONDS": "1"}
        async with (
            Process("run", environment=environment, log=tmp_path / "log") as process,
            client_of(process.url) as client,
        ):
            yield client, link


async def requests(client):
    """Return how many requests were answered: (method, route, class of the status) -> number."""
    return {
        (labels["method"], labels["route"], labels["status"]): int(value)
        for name, labels, value in await read_samples(client)
        if name == "signal_broker_http_request_seconds_count"
    }


@pytest.mark.slow
async def test_every_request_is_counted_by_its_route(fresh, name):
    client, _ = fresh
    signal = await client.post("/v1/signals", {"name": name})
    for path in ("/v1/signals/1000000", "/v1/signals/2000000", "/v1/signals/x"):
        assert (await client.request("GET", path))[0] == 404
    assert (await client.request("GET", f"/v1/signals/{signal['id']}"))[0] in {200, 404}
    await client.caller("").post("/v1/signals", {"name": name}, expect=401)
    await client.request("POST", "/API//Signal-Endpoint/none", json={})
    await client.request("HEAD", "/livez")

    found = await requests(client)

    assert found["POST", "/v1/signals", "2xx"] == 1
    assert found["POST", "/v1/signals", "4xx"] == 1
    assert sum(number for (_, route, _), number in found.items() if route == "/v1/signals/{id}") == 4
    assert found["POST", "/api/signal-endpoint/{name}", "4xx"] == 1
    assert found["HEAD", "/livez", "2xx"] == 1


@pytest.mark.slow
async def test_unknown_paths_and_methods_and_what_cannot_be_read_share_one_route(fresh):
    client, _ = fresh
    for path in ("/nothing", "/v2/signals", "/v1/signals/1/2/3"):
        assert (await client.request("GET", path))[0] == 404
    assert (await client.request("DELETE", "/v1/signals"))[0] == 405
    assert (await client.request("PROPFIND", "/coffee"))[0] == 404
    assert await answer_of(client, b"GET /livez HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n") == 400
    assert await answer_of(client, b"BREW /livez HTTP/9\r\n\r\n") == 400

    found = await requests(client)

    assert {key: number for key, number in found.items() if key[1] == "other"} == {
        ("GET", "other", "4xx"): 4,
        ("DELETE", "other", "4xx"): 1,
        ("other", "other", "4xx"): 2,
    }


async def answer_of(client, request):
    """Return the status of the answer to the bytes of *request*."""
    host, port = client.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    status = int((await reader.readline()).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


@pytest.mark.slow
async def test_a_throw_that_is_refused_late_is_among_the_slow_ones(fresh, name):
    client, link = fresh
    link.stall()
    await client.post("/v1/signals", {"name": name}, expect=503)

    samples = {(sample, labels.get("status")): value for sample, labels, value in await of_throws(client)}

    assert samples["signal_broker_http_request_seconds_count", "5xx"] == 1
    assert samples["signal_broker_http_request_seconds_sum", "5xx"] > 0.9


async def of_throws(client):
    """Return the samples of native throws, without the buckets."""
    return [
        sample
        for sample in await read_samples(client)
        if sample[1].get("route") == "/v1/signals" and sample[1].get("method") == "POST" and "le" not in sample[1]
    ]
