"""Methods, paths and headers of the Camunda 7 dialect, as JAX-RS has them."""

from __future__ import annotations

import gzip
import json
from io import BytesIO

import pytest
from multidict import CIMultiDict
from yarl import URL

from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import subscribe, token

PATHS = ["/engine-rest/signal", "/engine-rest/engine/default/signal", "/signal"]


async def call(client, method, path, **kwargs):
    """Return (status, headers, body) of *path*, sent as it is written."""
    async with client._session.request(  # noqa: SLF001
        method, URL(client.url + path, encoded=True), headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}, **kwargs
    ) as response:
        body = await response.read()
        return response.status, response.headers, json.loads(body) if body else None


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_other_methods_are_not_allowed(client, path, method):
    status, headers, body = await call(client, method, path, json={"name": "s"})

    assert (status, headers["Allow"]) == (405, "OPTIONS, POST")
    assert body == {"type": "NotAllowedException", "message": "HTTP 405 Method Not Allowed", "code": None}


async def test_head_is_not_allowed_and_has_no_body(client):
    status, _, body = await call(client, "HEAD", "/engine-rest/signal")

    assert (status, body) == (405, None)


@pytest.mark.parametrize("path", [*PATHS, "/signal/", "/signal;a=b"])
async def test_options_says_what_is_allowed(client, path):
    """Camunda's container crashes on it (500 DefaultOptionsMethodException)."""
    status, headers, body = await call(client, "OPTIONS", path)

    assert (status, headers["Allow"], body) == (204, "OPTIONS, POST", None)


@pytest.mark.parametrize(
    "path",
    [
        "/execution/e/signal",
        "/task",
        "//signal",
        "/signal/x",
        "/Signal",
        "/nothing",
        "/signal/;a=b/c",
        "",
        "/",
        "/engine/x",
    ],
)
async def test_other_paths_are_not_found(client, path):
    status, _, body = await call(client, "POST", "/engine-rest" + path, json={"name": "s"})

    assert status == 404
    assert body == {"type": "NotFoundException", "message": "HTTP 404 Not Found", "code": None}


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("more", [";a=b", ";a", ";a=b;c=d", ";a=b/", "/", "?name=other&a=1", ";a=b?name=other"])
async def test_a_path_may_carry_what_nobody_asked_for(client, name, path, more):
    subscription = await subscribe(client, name, once=True)

    status, headers, body = await call(client, "POST", path + more, json={"name": name})

    assert (status, body, headers.get("Content-Type")) == (204, None, None)

    async def is_consumed():
        return (await client.get(f"/v1/subscriptions/{subscription['id']}"))["consumedBy"]

    await eventually(is_consumed)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["text/plain", "application/json"], 204),
        (["text/html", "*/*"], 204),
        (["text/html;q=1", "image/*, application/json;q=0.5"], 204),
        (["application/json", "application/json"], 204),
        (["text/plain", "text/html"], 406),
        (["*/*", "application/json;q=0"], 406),
    ],
)
async def test_several_lines_of_accept_are_one_list(client, name, lines, status):
    """Java's clients send one for each value that is added."""
    headers = CIMultiDict([("Authorization", f"Bearer {ADMIN_TOKEN}"), *(("Accept", line) for line in lines)])
    url = client.url + "/engine-rest"

    async with client._session.post(f"{url}/signal", json={"name": name}, headers=headers) as response:  # noqa: SLF001
        assert response.status == status
    async with client._session.get(f"{url}/event-subscription", headers=headers) as response:  # noqa: SLF001
        assert response.status == (200 if status == 204 else status)


async def test_a_chunked_body_is_read(client, name):
    async def chunks():
        yield b'{"name":'
        yield f'"{name}"}}'.encode()

    headers = {"Content-Type": "application/json"}
    assert (await client.request("POST", "/engine-rest/signal", data=chunks(), headers=headers))[0] == 204


async def test_a_compressed_body_is_read(client, name):
    """Camunda does not understand it; here it does no harm."""
    status, _, _ = await client.request(
        "POST",
        "/engine-rest/signal",
        data=gzip.compress(json.dumps({"name": name}).encode()),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )

    assert status == 204


async def test_a_body_over_the_limit_is_refused_in_camundas_envelope(client):
    body = BytesIO(json.dumps({"name": "s", "variables": {"v": {"value": "x" * (1 << 20)}}}).encode())
    headers = {"Content-Type": "application/json"}

    status, _, error = await client.request("POST", "/engine-rest/signal", data=body, headers=headers)

    assert (status, error["type"]) == (413, "InvalidRequestException")
    assert error["message"]


async def test_a_name_that_cannot_be_routed_is_refused(client):
    error = await client.post("/engine-rest/signal", {"name": "x" * 256}, expect=400)

    assert error == {
        "type": "InvalidRequestException",
        "message": "name: is 256 bytes long; a name is at most 255",
        "code": None,
    }


async def test_the_engines_are_listed_without_credentials(client):
    for path in ("/engine-rest/engine", "/engine-rest/engine/"):
        status, headers, body = await client.caller("").request("GET", path)

        assert (status, body) == (200, [{"name": "default"}])
        assert headers["Cache-Control"] == "no-cache"


async def test_the_version_is_told_without_credentials_to_whoever_waits_for_a_start(client):
    """Scripts wait with `curl --head --fail .../engine-rest/version`."""
    for path in ("/engine-rest/version", "/engine-rest/version/"):
        status, headers, body = await client.caller("").request("GET", path)
        head, _, nothing = await client.caller("").request("HEAD", path)

        assert (status, body, head, nothing) == (200, {"version": "7.24.0"}, 200, b"")
        assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic ZGVtbzpkZW1v", "basic x"])
@pytest.mark.parametrize("path", ["/engine-rest/engine/nope/signal", "/engine-rest/engine/nope/event-subscription"])
async def test_an_unknown_engine_is_404_before_credentials_are_looked_at(client, header, path):
    method = "POST" if path.endswith("signal") else "GET"
    headers = {} if header is None else {"Authorization": header}

    status, _, body = await client.caller("").request(method, path, json={}, headers=headers)

    assert status == 404
    assert body == {"type": "InvalidRequestException", "message": "Process engine nope not available", "code": None}


async def test_nobody_is_told_what_is_wrong_with_a_body_before_saying_who_he_is(client):
    status, headers, body = await client.caller("").request("POST", "/engine-rest/signal", data=b"{")

    assert (status, body, headers.get("Content-Type")) == (401, b"", None)
    assert headers["WWW-Authenticate"] == 'Basic realm="default", charset="UTF-8"'


async def test_the_business_key_is_carried_to_subscribers(client, webhooks, name):
    await subscribe(client, name, webhooks.url("/"))

    await client.post("/engine-rest/signal", {"name": name, "businessKey": "order 7"}, expect=204)

    await eventually(lambda: webhooks.requests)
    assert json.loads(webhooks.requests[0].body)["businessKey"] == "order 7"


@pytest.mark.parametrize("key", [{"a": 1}, ["a"]])
async def test_a_business_key_is_text(client, key):
    error = await client.post("/engine-rest/signal", {"name": "s", "businessKey": key}, expect=400)

    assert error == {"type": "InvalidRequestException", "message": "", "code": None}


async def test_a_business_key_is_not_longer_than_can_be_kept(client):
    error = await client.post("/engine-rest/signal", {"name": "s", "businessKey": "x" * 256}, expect=400)

    assert error["message"] == "businessKey: has 256 characters; an id has at most 255"


async def test_a_caller_may_say_that_it_repeats_itself(client, webhooks, name):
    await subscribe(client, name, webhooks.url("/"))
    caller = client.caller(await token(client, "signals:throw"))

    for _ in range(3):
        await caller.post("/engine-rest/signal", {"name": name}, expect=204, Idempotency_Key=name)

    await client.post("/engine-rest/signal", {"name": name, "businessKey": "last"}, expect=204)
    # The last signal may arrive before the first one.
    await eventually(lambda: {json.loads(r.body)["businessKey"] for r in webhooks.requests} == {None, "last"})
    assert len({json.loads(request.body)["id"] for request in webhooks.requests}) == 2


async def test_the_description_is_that_of_camundas_paths(client):
    async with client._session.get(f"{client.url}/engine-rest/openapi.json") as response:  # noqa: SLF001
        description = await response.json()

    assert {"/engine-rest/signal", "/engine-rest/message", "/engine-rest/execution", "/signal"} <= set(
        description["paths"]
    )
    assert all(path.startswith(("/engine-rest/", "/signal")) for path in description["paths"])
    assert "CamundaException" in description["components"]["schemas"]
