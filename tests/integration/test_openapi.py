"""``/openapi.json`` says what is so, and ``/docs`` shows it."""

from __future__ import annotations

import re

import pytest
from jsonschema import Draft202012Validator

from gateway.pages import content_security_policy
from tests.support.described import Described
from tests.support.receiver import Answer
from tests.support.throwing import delivery, endpoint, subscribe, throw

METHODS = {"get", "head", "post", "put", "patch", "delete", "options"}


@pytest.fixture
async def api(client):
    return await client.get("/openapi.json")


def operations(api):
    return [(path, method, one) for path, methods in api["paths"].items() for method, one in methods.items()]


@pytest.mark.slow
async def test_it_is_openapi_with_valid_schemas_and_no_loose_references(api):
    assert api["openapi"] == "3.1.0"
    assert {"title", "version"} <= set(api["info"])
    for schema in api["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    references = set(re.findall(r"'\$ref': '([^']+)'", str(api)))
    assert references == {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses", "headers")
        for name in api["components"][kind]
    }


@pytest.mark.slow
async def test_every_operation_is_complete(api):
    found = operations(api)

    assert {tag for _, _, one in found for tag in one["tags"]} == {tag["name"] for tag in api["tags"]}
    assert all(tag["description"] for tag in api["tags"])
    ids = [one["operationId"] for _, _, one in found]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch("[a-zA-Z0-9]+", one) for one in ids)
    for path, method, one in found:
        assert method in METHODS
        assert one["summary"]
        assert one["description"]
        assert one["tags"]
        assert one["responses"]
        in_path = [parameter["name"] for parameter in one["parameters"] if parameter["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path)
        assert all(parameter["description"] for parameter in one["parameters"])
        assert all(Described(api).resolved(response)["description"] for response in one["responses"].values())
        for parameter in one["parameters"]:
            Draft202012Validator.check_schema(parameter["schema"])


@pytest.mark.slow
async def test_the_routes_are_exactly_those_of_the_contract(api):
    """What the application answers is made of the same list; this is what users rely on."""
    assert {
        ("POST", "/v1/signals"),
        ("GET", "/v1/signals"),
        ("GET", "/v1/signals/{id}"),
        ("DELETE", "/v1/signals/{id}"),
        ("POST", "/v1/signals/batch"),
        ("POST", "/v1/cloudevents"),
        ("POST", "/v1/signals/explain"),
        ("GET", "/v1/signals/{id}/deliveries"),
        ("POST", "/v1/subscriptions"),
        ("GET", "/v1/subscriptions"),
        ("GET", "/v1/subscriptions/{id}"),
        ("PATCH", "/v1/subscriptions/{id}"),
        ("DELETE", "/v1/subscriptions/{id}"),
        ("POST", "/v1/subscriptions/{id}/replay"),
        ("POST", "/v1/subscriptions/{id}/rotate-secret"),
        ("GET", "/v1/webhook-keys"),
        ("POST", "/v1/webhook-keys/rotate"),
        ("GET", "/v1/webhook-permissions"),
        ("POST", "/v1/webhook-permissions"),
        ("GET", "/v1/deliveries"),
        ("GET", "/v1/deliveries/{id}"),
        ("POST", "/v1/deliveries/redrive"),
        ("POST", "/v1/deliveries/{id}/redrive"),
        ("POST", "/v1/deliveries/{id}/cancel"),
        ("GET", "/v1/ledger"),
        ("GET", "/v1/stats"),
        ("POST", "/v1/tokens"),
        ("GET", "/v1/tokens"),
        ("GET", "/v1/tokens/{id}"),
        ("DELETE", "/v1/tokens/{id}"),
        ("POST", "/engine-rest/signal"),
        ("POST", "/engine-rest/engine/{engine}/signal"),
        ("POST", "/signal"),
        ("POST", "/api/signal-endpoint/{name}"),
        ("GET", "/api/admin/signal-endpoints"),
        ("POST", "/api/admin/signal-endpoints"),
        ("PUT", "/api/admin/signal-endpoints/{id}"),
        ("DELETE", "/api/admin/signal-endpoints/{id}"),
        ("POST", "/api/admin/signal-endpoints/{id}/on"),
        ("POST", "/api/admin/signal-endpoints/{id}/off"),
        ("GET", "/api/admin/signal-endpoints/{id}/tokens"),
        ("POST", "/api/admin/signal-endpoints/{id}/tokens"),
        ("PUT", "/api/admin/signal-endpoints/{id}/tokens/{token}"),
        ("DELETE", "/api/admin/signal-endpoints/{id}/tokens/{token}"),
        ("GET", "/api/admin/signal-endpoints/{id}/signals"),
        ("GET", "/api/admin/signals"),
        ("GET", "/v1/audit"),
        ("GET", "/v1/events"),
        ("POST", "/v1/session"),
        ("GET", "/v1/session"),
        ("DELETE", "/v1/session"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/asyncapi.json"),
        ("GET", "/docs"),
        ("GET", "/"),
        ("GET", "/console"),
    } <= {(method.upper(), path) for path, method, _ in operations(api)}


@pytest.mark.slow
async def test_query_parameters_are_described_as_they_are_read(client, api):
    """Every described one is read: a value that its schema forbids is refused."""
    for path, method, one in operations(api):
        for parameter in one["parameters"]:
            if parameter["in"] == "query" and {"enum", "minimum", "format"} & set(parameter["schema"]):
                status, _, _ = await client.request(method, path.replace("{id}", "1") + f"?{parameter['name']}=wrong!")
                assert status in {400, 404}, (method, path, parameter["name"])


@pytest.mark.slow
async def test_real_answers_are_as_described(client, api, webhooks, name):
    def check(path, method, status, body):
        content = api["paths"][path][method]["responses"][status]["content"]
        [media] = content.values()
        schema = {**media["schema"], "components": api["components"]}
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(body)

    subscription = await subscribe(client, name, webhooks.answer("/hook", Answer(status=500)), retry={"maxAttempts": 1})
    check("/v1/subscriptions", "post", "201", subscription)
    signal = await throw(client, name, payload={"a": [1]}, tenantId=None)
    check("/v1/signals", "post", "202", signal)
    batch = await client.post("/v1/signals/batch", {"signals": [{"name": name}, {"name": ""}]}, expect=200)
    check("/v1/signals/batch", "post", "200", batch)
    check("/v1/signals/explain", "post", "200", await client.post("/v1/signals/explain", {"name": name}, expect=200))
    dead = await delivery(client, signal, subscription, "dead")
    check("/v1/deliveries/{id}", "get", "200", dead)
    made, value = await endpoint(client)
    _, _, called = await client.caller(value).request("POST", f"/api/signal-endpoint/{made['name']}", json={"a": 1})
    check("/api/signal-endpoint/{name}", "post", "200", called)
    check("/api/admin/signal-endpoints", "post", "201", made)
    check("/v1/signals", "post", "default", await client.post("/v1/signals", {"nome": 1}, expect=400))
    check("/signal", "post", "default", await client.post("/signal", {}, expect=400))
    check(
        "/api/admin/signal-endpoints",
        "post",
        "default",
        await client.post("/api/admin/signal-endpoints", {"name": ""}, expect=400),
    )
    fetched = {
        "/v1/signals": f"/v1/signals?name={name}",
        "/v1/signals/{id}": f"/v1/signals/{signal['id']}",
        "/v1/signals/{id}/deliveries": f"/v1/signals/{signal['id']}/deliveries",
        "/v1/subscriptions": f"/v1/subscriptions?name={name}",
        "/v1/subscriptions/{id}": f"/v1/subscriptions/{subscription['id']}",
        "/v1/deliveries": f"/v1/deliveries?signalId={signal['id']}",
        "/v1/ledger": "/v1/ledger",
        "/v1/stats": "/v1/stats?by=name",
        "/v1/tokens": "/v1/tokens",
        "/v1/webhook-keys": "/v1/webhook-keys",
        "/api/admin/signal-endpoints": "/api/admin/signal-endpoints",
        "/api/admin/signal-endpoints/{id}/tokens": f"/api/admin/signal-endpoints/{made['id']}/tokens",
        "/api/admin/signal-endpoints/{id}/signals": f"/api/admin/signal-endpoints/{made['id']}/signals",
        "/api/admin/signals": "/api/admin/signals",
        "/v1/audit": "/v1/audit",
        "/v1/events": "/v1/events",
    }
    for path, real in fetched.items():
        check(path, "get", "200", await client.get(real))


async def test_the_page_may_run_only_what_is_in_it_and_fetch_only_from_here(client):
    status, headers, body = await client.caller("").request("GET", "/docs")

    page = body.decode()
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["Content-Security-Policy"] == content_security_policy(page)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert not re.search(r"""(src|href)=["']?(https?:)?//|\sstyle=|\son\w+=|@import|\burl\(""", page)
    assert page.count("<script>") == page.count("<style>") == 1
