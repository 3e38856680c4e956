"""Signal endpoints: Unleash's call."""

from __future__ import annotations

import uuid

import pytest

from tests.support.eventually import eventually
from tests.support.throwing import endpoint, matched, recorded, subscribe

KIB = 1024


def path_of(made):
    return f"/api/signal-endpoint/{made['name']}"


@pytest.fixture
async def called(client):
    """Return a new endpoint, its token, and a client that calls with it."""
    made, value = await endpoint(client)
    return made, value, client.caller(value)


async def test_a_call_is_answered_with_the_signal_it_threw(client, called):
    made, _, caller = called
    subscription = await subscribe(client, made["name"])

    status, headers, body = await caller.request("POST", path_of(made), json={"cpu": 92})

    [signal] = body["signals"]
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert set(signal) == {"id", "source", "sourceId", "createdAt", "createdBySourceTokenId", "payload"}
    assert (signal["source"], signal["sourceId"]) == ("signal-endpoint", made["id"])
    assert signal["payload"] == {"cpu": 92}
    tokens = await client.get(f"/api/admin/signal-endpoints/{made['id']}/tokens")
    assert [one["id"] for one in tokens["signalEndpointTokens"]] == [signal["createdBySourceTokenId"]]
    assert await matched(client, signal["id"]) == {subscription["id"]}
    assert (await recorded(client, signal["id"]))["source"] == "signal-endpoint"


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer  {}"])
async def test_the_token_may_come_raw_or_as_a_bearer(client, called, form):
    made, value, _ = called

    status, _, _ = await client.caller("").request("POST", path_of(made), headers={"Authorization": form.format(value)})

    assert status == 200


BODIES = {
    "nothing": (b"", "application/json", {}),
    "nothing of no type": (b"", None, {}),
    "a form": (b"a=1&b=&a=2", "application/x-www-form-urlencoded", {"a": ["1", "2"], "b": ""}),
    "text": (b"hello", "text/plain", {}),
    "JSON of another type": (b'{"a": 1}', "application/cloudevents+json", {}),
    "JSON with a charset": (b'{"a": 1}', "application/json; charset=utf-8", {"a": 1}),
    "JSON with a BOM": (b'\xef\xbb\xbf{"a": 1}', "application/json", {"a": 1}),
    "half a character as a key": (b'{"\\ud800": "\\ud800"}', "application/json", {"\ud800": "\ud800"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BODIES)
async def test_a_calls_body_is_read_as_the_original_reads_it(called, case):
    made, _, caller = called
    body, content_type, payload = BODIES[case]
    headers = {} if content_type is None else {"Content-Type": content_type}

    status, _, answer = await caller.request("POST", path_of(made), data=body, headers=headers)

    assert status == 200, answer
    assert answer["signals"][0]["payload"] == payload


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b"null", b'{"a": NaN}', b"\xff"])
async def test_a_malformed_payload_is_refused(called, body):
    made, _, caller = called

    status, _, error = await caller.request(
        "POST", path_of(made), data=body, headers={"Content-Type": "application/json"}
    )

    assert (status, error["name"]) == (400, "BadDataError")
    assert uuid.UUID(error["id"])
    assert error["details"][0]["message"]


async def test_a_form_that_is_not_in_utf_8_is_refused_and_what_another_loses_is_told(called):
    made, _, caller = called
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    status, _, error = await caller.request("POST", path_of(made), data=b"a=\xff", headers=headers)
    assert (status, error["name"]) == (400, "BadDataError")

    status, told, answer = await caller.request("POST", path_of(made), data=b"__proto__[x]=1&a[b]c=2", headers=headers)
    assert (status, answer["signals"][0]["payload"]) == (200, {"a": {"b": "2"}})
    assert told["Signal-Broker-Warning"] == "parameters of the form that were ignored, or not read whole: 2"


async def test_a_hundred_kibibytes_pass_and_one_byte_more_does_not(called):
    made, _, caller = called
    headers = {"Content-Type": "application/json"}
    exactly = b'{"a":"%b"}' % (b"x" * (100 * KIB - 8))
    assert len(exactly) == 100 * KIB

    assert (await caller.request("POST", path_of(made), data=exactly, headers=headers))[0] == 200
    status, _, error = await caller.request("POST", path_of(made), data=exactly + b" ", headers=headers)

    assert (status, error["name"]) == (413, "PayloadTooLargeError")


@pytest.mark.parametrize("credentials", ["", "wrong", "signal_wrong"])
async def test_a_wrong_token_is_401_whatever_the_name(client, called, credentials):
    made, _, _ = called
    caller = client.caller(credentials)

    for path in (path_of(made), "/api/signal-endpoint/nobody-made-this"):
        status, _, error = await caller.request("POST", path)
        assert (status, error["name"]) == (401, "UnauthorizedError" if credentials else "AuthenticationRequired")


async def test_an_api_token_and_another_endpoints_token_are_401(client, called):
    made, _, _ = called
    _, other = await endpoint(client)

    assert (await client.request("POST", path_of(made)))[0] == 401
    assert (await client.caller(other).request("POST", path_of(made)))[0] == 401


async def test_an_endpoints_token_opens_nothing_else(called):
    _, _, caller = called

    assert (await caller.request("POST", "/v1/signals", json={"name": "s"}))[0] == 401
    assert (await caller.request("GET", "/api/admin/signal-endpoints"))[0] == 401


@pytest.mark.parametrize("name", ["nobody-made-this", "UPPER", "a%00b", "%ed%a0%80", "x" * 300])
async def test_an_unknown_endpoint_is_404(called, name):
    _, _, caller = called

    status, _, error = await caller.request("POST", f"/api/signal-endpoint/{name}")

    assert (status, error["name"]) == (404, "NotFoundError")


async def test_a_disabled_endpoint_is_404_until_it_is_enabled_again(client, called):
    made, _, caller = called

    async def answers(status):
        return (await caller.request("POST", path_of(made)))[0] == status

    off = await client.post(f"/api/admin/signal-endpoints/{made['id']}/off", {}, expect=200)
    assert off["enabled"] is False
    await eventually(lambda: answers(404))
    on = await client.post(f"/api/admin/signal-endpoints/{made['id']}/on", {}, expect=200)
    assert on["enabled"] is True
    await eventually(lambda: answers(200))


async def test_a_deleted_token_and_a_deleted_endpoint_are_401(client, called):
    made, _, caller = called
    root = f"/api/admin/signal-endpoints/{made['id']}"
    again = await client.post(f"{root}/tokens", {"name": "second"}, expect=201)
    [first, second] = (await client.get(f"{root}/tokens"))["signalEndpointTokens"]
    assert second["id"] == again["id"]

    async def is_refused(who):
        return (await who.request("POST", path_of(made)))[0] == 401

    assert (await client.request("DELETE", f"{root}/tokens/{first['id']}"))[0] == 200
    await eventually(lambda: is_refused(caller))
    assert (await client.caller(again["token"]).request("POST", path_of(made)))[0] == 200
    assert (await client.request("DELETE", root))[0] == 200
    await eventually(lambda: is_refused(client.caller(again["token"])))
