"""Signing in by Basic authentication: in every dialect, and kept from guesses."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request

import pytest

from tests.support.eventually import eventually
from tests.support.product import client_of
from tests.support.signing_in import PASSWORD, Caller, create, header
from tests.support.throwing import token

CALLS = {
    "/v1/signals": ({"name": "s"}, 202),
    "/v2/signals/broadcast": ({"signalName": "s"}, 200),
    "/engine-rest/signal": ({"name": "s"}, 204),
    "/api/admin/signal-endpoints": ({"name": "$$"}, 400),
}


@pytest.mark.slow
async def test_the_scheme_is_case_sensitive_for_camundas_callers_only(client, name):
    made = await create(client, "signals:throw")
    plain = client.caller("")

    async def answer(path, credentials):
        return (await plain.request("POST", path, json={"name": name}, headers=credentials))[0]

    lower, upper = header(made["name"], scheme="basic "), header(made["name"], scheme="BASIC ")
    assert [await answer("/engine-rest/signal", headers) for headers in (lower, upper)] == [401, 401]
    assert [await answer("/v1/signals", headers) for headers in (lower, upper)] == [202, 202]
    two_blanks = header(made["name"], scheme="Basic  ")
    unpadded = {"Authorization": header(made["name"])["Authorization"].rstrip("=")}
    assert [await answer("/engine-rest/signal", headers) for headers in (two_blanks, unpadded)] == [204, 204]


@pytest.mark.parametrize("scheme", ["Basic ", "Digest ", "Bearer ", ""])
async def test_what_nobody_can_read_is_camundas_401(client, name, scheme):
    credentials = {"Authorization": f"{scheme}ZGVtbw"}
    status, headers, body = await client.caller("").request("POST", "/signal", data=b"{", headers=credentials)

    assert (status, body) == (401, b"")
    assert headers["WWW-Authenticate"] == 'Basic realm="default", charset="UTF-8"'
    assert "Content-Type" not in headers or headers["Content-Length"] == "0"


async def test_an_engine_that_does_not_exist_comes_before_credentials(client):
    made = await create(client, "signals:throw")
    for credentials in (
        {},
        {"Authorization": "sb_wrong"},
        header(made["name"]),
        header("nobody"),
        header("", "", "basic "),
    ):
        status, _, body = await client.caller("").request(
            "POST", "/engine-rest/engine/nope/signal", json={}, headers=credentials
        )
        assert status == 404
        assert body == {"type": "InvalidRequestException", "message": "Process engine nope not available", "code": None}


@pytest.mark.slow
async def test_after_a_wrong_password_the_right_one_has_to_wait_a_little(client, name):
    made = await create(client, "signals:throw")
    caller, wrong = Caller(client, made["name"]), Caller(client, made["name"], "wrong horse")

    begun = time.monotonic()
    assert (await wrong.throw(name))[0] == 401
    assert (await caller.throw(name))[0] == 401 or time.monotonic() - begun > 3

    async def is_let_in():
        return (await caller.throw(name))[0] == 204

    await eventually(is_let_in, every=0.1)
    assert (await wrong.throw(name))[0] == 401
    assert (await caller.throw(name))[0] == 204, "it signed in lately"


@pytest.mark.slow
async def test_floods_of_wrong_passwords_are_refused_in_every_dialect_and_keep_no_user_nor_token_out(product, name):
    """140 at once, of names that nobody has and of the user's own, from the user's own address."""
    async with product.sibling("gateway") as process, client_of(process.url) as client:
        made = await create(client, "signals:throw")
        caller, opener = Caller(client, made["name"]), client.caller(await token(client, "signals:throw"))
        assert (await caller.throw(name))[0] == 204
        paths = list(CALLS)

        async def attempt(number):
            wrong = Caller(client, made["name"] if number % 2 else f"nobody-{name}-{number}", f"wrong {number:04}")
            path = paths[number // 2 % len(paths)]
            return path, await wrong.request("POST", path, json={})

        flood = asyncio.gather(*(attempt(number) for number in range(140)))
        for _ in range(10):
            assert (await caller.throw(name))[0] == 204
            assert (await opener.request("POST", "/v1/signals", json={"name": name}))[0] == 202
        answers = await flood
    refused = [(path, headers, body) for path, (status, headers, body) in answers if status == 429]
    assert {status for _, (status, _, _) in answers} <= {401, 429}
    assert {path for path, _, _ in refused} == set(paths)
    assert all(int(headers["Retry-After"]) >= 1 for _, headers, _ in refused)
    shapes = {
        "/v1/signals": {"type", "title", "status", "detail"},
        "/v2/signals/broadcast": {"type", "title", "status", "detail", "instance"},
        "/engine-rest/signal": {"type", "message", "code"},
        "/api/admin/signal-endpoints": {"id", "name", "message", "details"},
    }
    assert all(set(body) == shapes[path] for path, _, body in refused)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "document", "status"), [(path, *call) for path, call in CALLS.items()])
async def test_who_sends_a_password_only_when_asked_is_asked_in_every_dialect(client, path, document, status):
    """As urllib, Java's HttpClient, .NET's, `wget --user` and `curl --anyauth` do."""
    made = await create(client, "admin")
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, client.url, made["name"], PASSWORD)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
    request = urllib.request.Request(
        client.url + path, json.dumps(document).encode(), {"Content-Type": "application/json"}
    )

    def call():
        try:
            return opener.open(request).status
        except urllib.error.HTTPError as error:
            return error.status

    assert await asyncio.to_thread(call) == status


@pytest.mark.parametrize(
    "headers", [{"Accept-Language": "de"}, {"Sec-Fetch-Mode": "cors"}, {"Origin": "https://evil.example"}]
)
async def test_no_browser_is_made_to_ask_for_a_password(client, headers):
    for path in ("/v1/signals", "/v2/signals/broadcast", "/api/admin/signal-endpoints"):
        _, browsers, _ = await client.caller("").request("POST", path, json={}, headers=headers)
        _, programs, _ = await client.caller("").request("POST", path, json={})

        assert browsers.getall("WWW-Authenticate") == ['Bearer realm="signal-broker"']
        assert programs.getall("WWW-Authenticate") == [
            'Bearer realm="signal-broker"',
            'Basic realm="signal-broker", charset="UTF-8"',
        ]


async def test_a_signal_endpoint_asks_for_what_it_takes(client):
    """Some clients fail on a 401 that asks for nothing (RFC 9110, 15.5.2)."""
    for credentials in ({}, {"Authorization": "Bearer signal_wrong"}):
        status, headers, _ = await client.caller("").request("POST", "/api/signal-endpoint/x", headers=credentials)

        assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="signal-broker"')
