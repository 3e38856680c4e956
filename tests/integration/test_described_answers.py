"""What `/openapi.json` promises: its examples are answered as they are, and every answer is as it describes it."""

from __future__ import annotations

import json
from io import BytesIO

import pytest

from tests.support.described import EVERYWHERE, Described
from tests.support.eventually import eventually
from tests.support.following import following
from tests.support.product import client_of
from tests.support.throwing import delivery, endpoint, recorded, throw, token

pytestmark = pytest.mark.slow

_JSON = {"Content-Type": "application/json"}
EVERYBODY = "broadcast-of-examples"


@pytest.fixture
async def admin(own_product):
    async with client_of(own_product.url) as client:
        yield client


@pytest.fixture
async def described(admin):
    return Described(await admin.get("/openapi.json"))


async def test_every_member_is_described_with_an_example_and_every_example_is_valid(described):
    members = 0
    for name, schema in described.document["components"]["schemas"].items():
        assert schema["examples"], name
        for document in schema["examples"]:
            described.validate(schema, document)
        for member, one in schema.get("properties", {}).items():
            members += 1
            assert one.get("description"), (name, member)
            assert one.get("examples"), (name, member)
            for value in one["examples"]:
                described.validate(one, value)
    assert members > 400


async def test_no_optional_member_has_null_as_its_default(described):
    """Generators of clients take a member with a default for one that is always there."""
    for name, schema in described.document["components"]["schemas"].items():
        for member, one in schema.get("properties", {}).items():
            assert one.get("default", ...) is not None, (name, member)


async def test_every_request_that_is_an_example_is_answered_and_as_described(admin, described, name):
    paths = await _made(admin, name)
    tried = 0
    for method, path, operation in described.operations():
        for content_type, document in described.examples(operation):
            is_call = path == "/api/signal-endpoint/{name}"
            caller = admin.caller(paths["value"]) if is_call else admin
            real = await _path(admin, path, paths)
            sent = {"data": json.dumps(document).encode(), "headers": {"Content-Type": content_type}}
            status, headers, body = await caller.request(method, real, **sent)
            described.check(method, real, status, headers, body)
            assert status < 300 or _is_to_be_refused(path, document, status), (method, path, document, status, body)
            tried += 1
    assert tried > 30


@pytest.mark.parametrize(
    "path", ["/v1/signals", "/v1/signals/batch", "/v1/cloudevents", "/engine-rest/signal", "/v2/signals/broadcast"]
)
async def test_a_throw_that_is_tried_unchanged_reaches_a_subscription_that_is_tried_unchanged(admin, described, path):
    subscription = await admin.post("/v1/subscriptions", first_example(described, "/v1/subscriptions"))
    caller = admin.caller(await token(admin, "signals:throw"))
    status, _, body = await caller.request("POST", path, **_sent(described, path))
    assert status < 300, body

    lease = first_example(described, "/v1/subscriptions/{id}/lease")
    answer = await admin.post(f"/v1/subscriptions/{subscription['id']}/lease", {**lease, "waitSeconds": 30})

    [delivery] = answer["deliveries"]
    assert (delivery["signal"]["name"], delivery["signal"]["payload"]) == ("policy.changed", {"policy": 42})


async def test_a_change_that_is_tried_unchanged_does_no_harm(admin, described, name):
    """Nothing is sent again, no target is replaced, and no user gets a known password with permissions."""
    wanted = {"name": name, "target": {"kind": "webhook", "url": "http://127.0.0.1:9/"}, "retry": {"maxAttempts": 1}}
    subscription = await admin.post("/v1/subscriptions", wanted)
    owed = await admin.post("/v1/signals", {"name": name}, expect=202)
    await delivery(admin, owed, subscription, "dead")
    later = await admin.post("/v1/subscriptions", {"name": name, "target": {"kind": "pull"}})

    async def tried(path, *, method="POST", **values):
        document = first_example(described, path, method=method)
        status, _, answer = await admin.request(method, path.format(**values), json=document)
        assert status == 200, answer
        return answer

    assert (await tried("/v1/deliveries/redrive"))["count"] > 0
    await delivery(admin, owed, subscription, "dead")
    assert (await tried("/v1/subscriptions/{id}/replay", id=later["id"]))["count"] > 0
    changed = await tried("/v1/subscriptions/{id}", method="PATCH", id=subscription["id"])
    known = {"name", "target", "retry", "maxInFlight", "filter", "state"}
    assert {key: changed[key] for key in known} == {key: subscription[key] for key in known}
    assert changed["description"] == "Invoices"
    assert first_example(described, "/v1/users")["permissions"] == []
    assert first_example(described, "/v1/users/{id}", method="PATCH").keys() == {"groups"}


def first_example(described, path, *, method="POST"):
    """Return what `/docs` sends for an operation if nobody changes it."""
    return next(described.examples(described.document["paths"][path][method.lower()]))[1]


def _sent(described, path):
    content_type, document = next(described.examples(described.document["paths"][path]["post"]))
    return {"data": json.dumps(document).encode(), "headers": {"Content-Type": content_type}}


def _is_to_be_refused(path, document, status):
    """Return whether *document* is refused because the token in it is nobody's, or because it always is."""
    if path.endswith("/bpmnError"):
        return status == 400
    return path == "/v1/session" and "token" in document and status == 401


async def _made(client, name):
    """Return what paths name. Somebody waits for the signals that examples throw to an execution, and for messages."""
    made, value = await endpoint(client)
    keys = {"businessKey": "order-7", "correlationKeys": {"customer": 42}}
    for waiting in (
        {"name": "policy.changed", "executionId": "waiting-7"},
        {"name": "order.paid", "executionId": "waiting-8", **keys},
        {"name": "order.shipped", "executionId": "waiting-9", "tenantId": "acme", **keys},
    ):
        await client.post("/v1/subscriptions", {**waiting, "target": {"kind": "queue", "queue": "waiting"}})
    return {"name": name, "endpoint": made, "value": value}


async def _path(client, path, made):
    """Return *path* with something new that it may be about."""
    if path.startswith("/v1/subscriptions/{id}"):
        target = {"kind": "webhook", "url": "http://127.0.0.1:9/"}
        if path.endswith("/lease"):
            target = {"kind": "pull"}
        wanted = {"name": made["name"], "ordered": True, "tenantId": "acme", "target": target}
        one = (await client.post("/v1/subscriptions", wanted))["id"]
    elif "/external-task/{id}" in path:
        one = await _task(client, made["name"])
    elif path.startswith(("/v1/tokens/{id}", "/v1/quotas/tokens/{id}")):
        one = (await client.post("/v1/tokens", {"name": "x", "permissions": ["signals:read"]}))["id"]
    elif path.startswith("/v1/users/{id}"):
        one = (await client.get("/v1/users"))["items"][0]["id"]
    elif path.startswith("/v1/quotas/tenants/{id}"):
        one = "acme"
    elif path == "/api/admin/signal-endpoints/{id}":  # the one of the example before: it keeps its name
        one = (await client.get("/api/admin/signal-endpoints"))["signalEndpoints"][-1]["id"]
    else:
        one = made["endpoint"]["id"]
    opened = await client.get(f"/api/admin/signal-endpoints/{made['endpoint']['id']}/tokens")
    return (
        path.replace("{id}", str(one))
        .replace("{token}", str(opened["signalEndpointTokens"][-1]["id"]))
        .replace("{name}", made["endpoint"]["name"])
        .replace("{engine}", "default")
    )


async def _task(client, name):
    """Return the id of an external task that the worker of the examples has locked."""
    subscription = await client.post("/v1/subscriptions", {"name": name, "target": {"kind": "pull"}})
    await throw(client, name)
    topic = {"topicName": str(subscription["id"]), "lockDuration": 60_000}
    wanted = {"workerId": "worker-1", "maxTasks": 1, "asyncResponseTimeout": 30_000, "topics": [topic]}
    [task] = await client.post("/engine-rest/external-task/fetchAndLock", wanted)
    return task["id"]


async def test_every_refusal_is_described_for_its_operation(admin, described):
    """Each operation is called by a stranger, by a caller who may do nothing with it, and with what is wrong."""
    stranger = admin.caller("sb_nobody-has-this-token")
    limited = admin.caller(await token(admin, "signals:throw", names=["allowed.#"]))
    seen = set()
    for method, path, _operation in described.operations():
        if path == "/v1/signals/tail" or (method, path) == ("DELETE", "/v1/session"):
            continue  # the first has no end, the second has no body to be wrong
        real = path.replace("{engine}", "default").replace("{file}", "none.js")
        real = real.replace("{name}", "none").replace("{id}", "999999").replace("{token}", "999999")
        attempts = [
            (stranger, real, {}),
            (limited, real, {"json": {"name": "other", "signalName": "other"}}),
            (admin, real, {"json": {"unknown": 1}}),
            (admin, real, {"data": b"{", "headers": _JSON}),
            (admin, real, {"data": b"x", "headers": {"Content-Type": "image/png"}}),
            (admin, f"{real}?unknown=1", {}),
        ]
        for caller, called, sent in attempts:
            if method == "GET" and sent:
                continue
            status, headers, body = await caller.request(method, called, allow_redirects=False, **sent)
            described.check(method, called, status, headers, body)
            seen.add(status)
    assert {400, 401, 403, 404, 415} <= seen


async def test_what_is_refused_before_a_request_is_read_is_described(admin, described, name):
    pulled = await admin.post("/v1/subscriptions", {"name": name, "target": {"kind": "pull"}})
    refused = [("POST", f"/v1/subscriptions/{pulled['id']}/test", {}, 409)]
    for base in ("/engine-rest", "/engine-rest/engine/default"):
        for path in ("execution", "event-subscription", "external-task"):
            refused += [
                ("GET", f"{base}/{path}?maxResults=x", {}, 404),
                ("GET", f"{base}/{path}", {"Accept": "text/html"}, 406),
                ("GET", f"{base}/{path}/count", {"Accept": "text/html"}, 406),
            ]
        refused.append(("POST", f"{base}/external-task?firstResult=x", {}, 404))
        refused.append(("POST", f"{base}/external-task/1-1/unlock", {"Accept": "text/html"}, 406))
        refused.append(("GET", f"{base}/external-task/1-1", {"Accept": "text/html"}, 406))
    paths = ("/v1/signals", "/engine-rest/signal", "/v2/signals/broadcast", "/api/admin/signal-endpoints")
    refused += [("POST", path, {"Expect": "nonsense"}, 417) for path in paths]
    for method, path, headers, expected in refused:
        sent = {"data": b"{}", "headers": _JSON | headers} if method == "POST" else {"headers": headers}
        status, told, body = await admin.request(method, path, **sent)
        assert status == expected, (method, path, body)
        described.check(method, path.partition("?")[0], status, told, body)


async def test_conflicts_and_bodies_that_are_too_large_are_described(admin, described, name):
    signal = await admin.post("/v1/signals", {"name": name}, expect=202, Idempotency_Key=name)
    wanted = {"name": name, "target": {"kind": "webhook", "url": "http://127.0.0.1:9/"}, "retry": {"maxAttempts": 1}}
    subscription = await admin.post("/v1/subscriptions", wanted)
    queue = await admin.post("/v1/subscriptions", {"name": EVERYBODY, "target": {"kind": "queue", "queue": name}})
    owed = await admin.post("/v1/signals", {"name": name}, expect=202)
    dead = await delivery(admin, owed, subscription, "dead")
    await admin.post(f"/v1/deliveries/{dead['id']}/cancel", None)
    await recorded(admin, signal["id"])
    made, _ = await endpoint(admin)
    user = {"name": name, "password": "correct horse"}
    await admin.post("/v1/users", user)
    conflicts = [
        ("POST", "/v1/signals", {"name": "other"}, {"Idempotency-Key": name}),
        ("DELETE", f"/v1/signals/{signal['id']}", None, {}),
        ("POST", f"/v1/deliveries/{dead['id']}/cancel", None, {}),
        ("POST", f"/v1/subscriptions/{queue['id']}/rotate-secret", {}, {}),
        ("POST", "/v1/users", user, {}),
        ("POST", "/api/admin/signal-endpoints", {"name": made["name"]}, {}),
    ]
    for method, path, document, headers in conflicts:
        status, answered, body = await admin.request(method, path, json=document, headers=headers)
        assert status == 409, (method, path, body)
        described.check(method, path, status, answered, body)
    for path in ("/v1/signals", "/engine-rest/signal", "/v2/signals/broadcast", "/api/admin/signal-endpoints"):
        large = BytesIO(b'{"name": "%b"}' % (b"x" * (3 << 20)))
        status, answered, body = await admin.request("POST", path, data=large, headers=_JSON)
        assert status == 413, (path, body)
        described.check("POST", path, status, answered, body)
    hops = {"Signal-Broker-Hops": "99"}
    status, answered, body = await admin.request("POST", "/v1/signals", json={"name": name}, headers=hops)
    assert status == 508
    described.check("POST", "/v1/signals", status, answered, body)


async def test_every_header_is_described_where_it_occurs(own_product, described, name):
    """At a gateway that limits calls of endpoints. What `/readyz` says of missing servers is in test_starting.py."""
    seen = {"x-signal-broker-missing"}
    async with (
        own_product.sibling("gateway", SIGNAL_ENDPOINT_RATE_LIMIT_PER_SECOND="1") as gateway,
        client_of(gateway.url) as admin,
    ):
        made, value = await endpoint(admin)
        browser, caller = admin.caller(""), admin.caller(value)

        async def answered(by, method, path, expected, **sent):
            status, headers, body = await by.request(method, path, allow_redirects=False, **sent)
            described.check(method, path, status, headers, body)
            seen.update(header.lower() for header in headers)
            return headers if status == expected else None

        keyed = {"json": {"name": name}, "headers": {"Idempotency-Key": name}}
        assert "Idempotency-Replayed" not in await answered(admin, "POST", "/v1/signals", 202, **keyed)
        assert "Idempotency-Replayed" in await answered(admin, "POST", "/v1/signals", 202, **keyed)
        event = {"ce-specversion": "1.0", "ce-id": name, "ce-source": "/tests", "ce-type": name}
        for _ in range(2):
            assert await answered(admin, "POST", "/v1/cloudevents", 202, headers=event)
        encoded = {"data": b"x", "headers": {**_JSON, "Content-Encoding": "compress"}}
        assert await answered(admin, "POST", "/v1/signals", 415, **encoded)
        call, text = f"/api/signal-endpoint/{made['name']}", {"data": b"x", "headers": {"Content-Type": "text/plain"}}
        assert await answered(browser, "POST", call, 401)
        for expected in (200, 429):
            assert await eventually(lambda at=expected: answered(caller, "POST", call, at, **text), every=0)
        assert await answered(browser, "GET", "/", 302)
        assert await answered(browser, "GET", "/docs", 200)
        for path in ("/console", "/console/api.js"):
            kept = {"If-None-Match": (await answered(browser, "GET", path, 200))["ETag"]}
            assert await answered(browser, "GET", path, 304, headers=kept)
        made = await admin.post("/v1/tokens", {"name": name, "permissions": ["signals:read"]})
        cookie = (await answered(browser, "POST", "/v1/session", 201, json={"token": made["token"]}))["Set-Cookie"]
        signed_in = {"Cookie": cookie.partition(";")[0]}
        session = (await browser.request("GET", "/v1/session", headers=signed_in))[2]
        signed_in["X-CSRF-Token"] = session["csrfToken"]
        assert await answered(browser, "DELETE", "/v1/session", 204, headers=signed_in)
        async with following(admin, f"?name={name}") as tail:
            described.check_headers("GET", "/v1/signals/tail", 200, tail.headers)
            seen.update(header.lower() for header in tail.headers)
    assert {name.lower() for name in described.names_of_headers()} == seen - EVERYWHERE
