"""OPTIONS on every path, and requests of pages from other origins, for every dialect."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.support.product import client_of
from tests.support.throwing import endpoint

ALLOWED, LOCAL, FOREIGN = "https://app.example", "http://localhost:3000", "https://evil.example"
PATHS = {
    "/v1/signals": "GET, HEAD, OPTIONS, POST",
    "/v1/subscriptions/7": "DELETE, GET, HEAD, OPTIONS, PATCH",
    "/engine-rest/signal": "OPTIONS, POST",
    "/engine-rest/engine/default/signal/": "OPTIONS, POST",
    "/engine-rest/event-subscription": "GET, HEAD, OPTIONS",
    "/v2/signals/broadcast": "OPTIONS, POST",
    "/api/signal-endpoint/x": "OPTIONS, POST",
    "/api//signal-endpoint/x/": "OPTIONS, POST",
    "/api/admin/signal-endpoints": "GET, HEAD, OPTIONS, POST",
    "/openapi.json": "GET, HEAD, OPTIONS",
    "/livez": "GET, HEAD, OPTIONS",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def choosy_url(embedded_product):
    origins = "HTTPS://app.example:443, http://localhost:3000"
    async with embedded_product.sibling("gateway", CORS_ORIGINS=origins) as gateway:
        yield gateway.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def open_url(embedded_product):
    async with embedded_product.sibling("gateway", CORS_ORIGINS="*") as gateway:
        yield gateway.url


@pytest.fixture
async def choosy(choosy_url):
    """Return a client of a gateway that allows pages of two origins."""
    async with client_of(choosy_url) as client:
        yield client


@pytest.fixture
async def open_to_all(open_url):
    """Return a client of a gateway that allows pages of any origin."""
    async with client_of(open_url) as client:
        yield client


def preflight(client, path, origin, method="POST"):
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    return client.caller("").request("OPTIONS", path, headers={"Origin": origin, **asked})


def cors(headers):
    return {name: value for name, value in headers.items() if name.startswith("Access-Control-")}


@pytest.mark.parametrize(("path", "methods"), PATHS.items())
async def test_options_is_answered_with_the_methods_of_the_path(client, path, methods):
    status, headers, body = await client.caller("").request("OPTIONS", path)

    assert (status, headers["Allow"], body) == (204, methods, b"")
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/nothing", "/engine-rest/nothing", "/v2/nothing", "/api/nothing", "/nothing"])
async def test_options_of_an_unknown_path_is_a_404(client, choosy, path):
    assert (await client.request("OPTIONS", path))[0] == 404
    assert (await preflight(choosy, path, ALLOWED))[0] == 404


async def test_nothing_is_told_to_pages_unless_the_setting_says_so(client):
    status, headers, _ = await preflight(client, "/engine-rest/signal", ALLOWED)

    assert (status, cors(headers), "Vary" in headers) == (204, {}, False)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "methods"), PATHS.items())
async def test_a_page_of_an_allowed_origin_may_ask_and_read(choosy, path, methods):
    status, headers, _ = await preflight(choosy, path, ALLOWED)

    assert status == 204
    assert cors(headers) == {
        "Access-Control-Allow-Origin": ALLOWED,
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": "authorization,content-type",
        "Access-Control-Max-Age": "600",
    }
    assert headers.getall("Vary") == ["Origin", "Access-Control-Request-Method, Access-Control-Request-Headers"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_of_a_foreign_origin_may_not(choosy, path):
    for origin in (FOREIGN, "null", "http://app.example", "https://app.example.evil", "https://app.example:8443"):
        status, headers, _ = await preflight(choosy, path, origin)

        assert (status, cors(headers), headers["Vary"]) == (204, {}, "Origin"), origin


async def test_every_answer_can_be_read_by_allowed_pages_only(choosy, name):
    """Errors included: of credentials, of routing, of bodies, and of the dialects' own."""
    made, _ = await endpoint(choosy)
    requests = {
        ("POST", "/v1/signals", f'{{"name": "{name}"}}'): 202,
        ("POST", "/v1/signals", "{"): 400,
        ("POST", "/engine-rest/signal", f'{{"name": "{name}"}}'): 204,
        ("POST", "/engine-rest/signal", "{}"): 400,
        ("POST", "/v2/signals/broadcast", '{"x": 1}'): 400,
        ("POST", f"/api/signal-endpoint/{made['name']}", "{}"): 401,
        ("GET", "/api/nothing", None): 404,
        ("DELETE", "/v1/signals", None): 405,
        ("GET", "/livez", None): 200,
    }
    for (method, path, body), expected in requests.items():
        for origin, readable in (
            (ALLOWED, ALLOWED),
            ("http://localhost:3000", "http://localhost:3000"),
            (FOREIGN, None),
        ):
            headers = {"Origin": origin, "Content-Type": "application/json"}
            data = None if body is None else body.encode()
            status, answered, _ = await choosy.request(method, path, data=data, headers=headers)

            assert status == expected, (method, path, origin)
            assert answered.get("Access-Control-Allow-Origin") == readable
            assert ("Access-Control-Expose-Headers" in answered) == (readable is not None)
            assert answered["Vary"] == "Origin"
    status, headers, _ = await choosy.caller("").request("GET", "/v1/signals", headers={"Origin": ALLOWED})
    assert (status, headers["Access-Control-Allow-Origin"]) == (401, ALLOWED)


@pytest.mark.slow
async def test_any_origin_means_no_remembered_credentials(open_to_all):
    for path in ("/v1/signals", "/engine-rest/event-subscription", "/v1/nothing"):
        for origin in (FOREIGN, "null"):
            _, headers, _ = await open_to_all.request("GET", path, headers={"Origin": origin})

            assert headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in headers
        _, headers, _ = await open_to_all.request("GET", path)
        assert cors(headers) == {}
