"""The parts of the Python client that need no server."""

from __future__ import annotations

import base64
import inspect
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as some
from signal_broker_client import (
    AsyncClient,
    Client,
    ClientError,
    Handlers,
    InvalidWebhook,
    Throw,
    TryLater,
    Unavailable,
    WrongHandler,
    verify,
)
from signal_broker_client.events import EventReader
from signal_broker_client.matching import matches
from signal_broker_client.requests import post, throwing, throwing_batch
from signal_broker_client.retries import Retries
from standardwebhooks import Webhook

from broker import names
from broker.secrets import make_key_pair
from tests.support.python_client import SOURCE
from tests.support.v1a import V1A
from workers import handlers as workers_handlers
from workers.webhooks.signing import signature_headers

ROOT = Path(__file__).parents[2]
SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
NOW = 1_800_000_000
WORDS = some.lists(some.sampled_from(["a", "b", "*", "#", "", "$broker"]), min_size=1, max_size=5).map(".".join)


def version(directory):
    return tomllib.loads((directory / "pyproject.toml").read_text())["project"]["version"]


def test_the_client_has_the_product_s_version():
    assert version(SOURCE) == version(ROOT)


def test_both_clients_have_the_same_methods():
    def methods(kind):
        members = {name: member for name, member in vars(kind).items() if name[0] != "_" and callable(member)}
        return {name: list(inspect.signature(member).parameters) for name, member in members.items()}

    assert methods(Client) == methods(AsyncClient)


def test_handlers_are_declared_and_tried_out_as_those_of_a_worker():
    for method in ("on", "try_out"):
        theirs = inspect.signature(getattr(workers_handlers.Handlers, method)).parameters
        ours = inspect.signature(getattr(Handlers, method)).parameters
        assert [str(one) for one in theirs.values()] == [str(one) for one in ours.values()]


@given(pattern=WORDS, name=WORDS)
def test_patterns_match_what_they_match_on_the_server(pattern, name):
    assert matches(pattern, name) is names.matches(pattern, name)


@pytest.mark.parametrize(
    ("scope", "called"),
    [
        ({}, {"any", "acme", "waiting"}),
        ({"tenant_id": "acme"}, {"acme"}),
        ({"without_tenant_id": True}, {"any", "waiting"}),
        ({"execution_id": "e"}, {"waiting"}),
    ],
)
async def test_those_are_tried_out_whom_the_signal_would_reach(scope, called):
    handlers = Handlers()
    handlers.on("order.#", name="any")(lambda _payload: None)
    handlers.on("order.paid", name="acme", tenant_id="acme")(lambda _payload: None)
    handlers.on("order.paid", name="waiting", execution_id="e")(lambda _payload: None)
    handlers.on("order.sent", name="other")(lambda _payload: None)
    assert set(await handlers.try_out("order.paid", {"total": 5}, **scope)) == called


async def test_a_payload_is_tried_out_with_its_type():
    @dataclass
    class Paid:
        order: int

    handlers, got = Handlers(), []

    def book(payload, signal):
        got.append((payload, signal.attempt, signal.raw))

    book.__annotations__["payload"] = Paid
    handlers.on("a")(book)
    (result,) = (await handlers.try_out("a", {"order": "7"}, attempt=2)).values()
    assert (result.outcome, got) == ("succeeded", [(Paid(order=7), 2, b'{"order":"7"}')])


@pytest.mark.parametrize("key", ["", "é", "a\n", "a" * 256])
def test_a_key_that_the_server_would_refuse_is_no_throw(key):
    with pytest.raises(ValueError, match="1 to 255 printable"):
        Throw(name="a", idempotency_key=key)


async def test_what_the_server_may_wait_is_no_part_of_the_timeout():
    timeouts = []

    def answer(request):
        timeouts.append(request.extensions["timeout"]["read"])
        return httpx.Response(200, json={})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with http, AsyncClient("http://a", "token", timeout=1, http=http) as client:
        await client.send(post("/", {}))
        await client.send(post("/", {}, wait=20))
    assert timeouts == [1, 21]


@pytest.mark.parametrize("payload", ["\ud800", {"a\udfff": ["é", "\ud800"]}])
async def test_half_of_a_surrogate_pair_is_thrown_and_handled_as_it_is(payload):
    assert json.loads(throwing(Throw(name="a", payload=payload)).content)["payload"] == payload
    handlers, got = Handlers(), []

    def take(given):
        got.append(given)

    handlers.on("a")(take)
    (result,) = (await handlers.try_out("a", payload)).values()
    assert (result.outcome, got) == ("succeeded", [payload])


def test_without_pydantic_payloads_are_plain_json():
    program = (
        "import sys; sys.modules['pydantic'] = None\n"
        "import asyncio; from signal_broker_client import Handlers, WrongHandler; handlers = Handlers()\n"
        "handlers.on('a', name='plain')(lambda payload: print(payload))\n"
        "asyncio.run(handlers.try_out('a', {'order': 7}))\n"
        "def typed(payload: int): ...\n"
        "try: handlers.on('a')(typed)\nexcept WrongHandler as error: print(error)\n"
    )
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, env={"PYTHONPATH": str(SOURCE / "src")}, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == [
        "{'order': 7}",
        "handler __main__.typed: the type of its payload takes pydantic: pip install signal-broker-client[pydantic]",
    ]


def test_a_throw_says_only_what_is_given():
    moment = datetime(2026, 12, 24, 8, tzinfo=UTC)
    assert Throw(name="a").body == {"name": "a"}
    assert Throw(name="a", payload=None, without_tenant_id=True, expires_at=moment).body == {
        "name": "a",
        "payload": None,
        "withoutTenantId": True,
        "expiresAt": "2026-12-24T08:00:00+00:00",
    }
    with pytest.raises(ValueError, match="deliver_at must have an offset"):
        Throw(name="a", deliver_at=datetime(2026, 12, 24))  # noqa: DTZ001
    with pytest.raises(ValueError, match="JSON"):
        throwing(Throw(name="a", payload=float("nan")))
    for throws in ([], [Throw(name="a")] * 1001):
        with pytest.raises(ValueError, match="1 to 1000 throws"):
            throwing_batch(throws)


@pytest.mark.parametrize("moment", ["garbage", "2026-12-24T08:00:00Z", 5])
def test_a_moment_that_is_no_datetime_is_no_throw(moment):
    with pytest.raises(TypeError, match="deliver_at must be a datetime with an offset"):
        Throw(name="a", deliver_at=moment)


@pytest.mark.parametrize("headers", [{"x": "a\nb"}, {"x": "€"}, {"x": "a "}, {"x": "\0"}, {"x\n": "a"}, {"": "a"}])
def test_a_header_that_cannot_be_sent_is_an_error_at_once(headers):
    with Client("http://127.0.0.1:9", "token") as client, pytest.raises(ValueError, match=r"^headers: "):
        client.throw("a", headers=headers)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://a", "", None, b"http://a"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="url must begin with"):
        Client(url, "token")


@pytest.mark.parametrize("token", ["", "a b", "a\n", "é", None, 5])
def test_a_token_that_no_header_can_have_is_refused(token):
    with pytest.raises(ValueError, match="token must be"):
        Client("http://a", token)


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [
        ("7", 7),
        ("0", 0.2),
        ("000", 0.2),
        ("Fri, 01 Jan 2021 00:00:00 GMT", 0.2),
        (None, 0.2),
        ("soon", 0.2),
        ("-1", 0.2),
        ("٣", 0.2),
    ],
)
def test_the_server_says_when_to_come_back(retry_after, pause):
    retries = Retries(post("/", {}), 60, clock=lambda: 0)
    assert pause / 2 <= retries.after_status(503, retry_after) <= pause


def test_a_server_that_asks_for_no_pause_gets_growing_ones():
    retries = Retries(post("/", {}), 60, clock=lambda: 0)
    assert sum(retries.after_status(503, "0") for _ in range(10)) > 20


@pytest.mark.parametrize(
    ("status", "again"),
    [(500, True), (501, True), (302, True), (408, True), (429, True), (200, False), (401, False), (404, False)],
)
def test_a_persistent_request_ends_with_a_success_or_a_refusal(status, again):
    retries = Retries(post("/", {}, persistent=True), 60)
    assert (retries.after_status(status, None) is not None) is again


def test_pauses_grow_until_patience_ends():
    now = 0.0
    retries, pauses = Retries(post("/", {}), 60, clock=lambda: now), []
    while now < 50:
        pauses.append(retries.after_error(OSError("no"), sent=True))
        now += pauses[-1]
    assert pauses[0] <= 0.2
    assert 5 <= pauses[-1] <= 10
    now = 60
    with pytest.raises(Unavailable, match="gave up after 60 s: OSError: no"):
        retries.after_error(OSError("no"), sent=True)


@pytest.mark.parametrize(("status", "again"), [(429, True), (503, False), (500, False), (200, False)])
def test_what_must_not_be_done_twice_is_repeated_only_if_it_was_not_done(status, again):
    retries = Retries(post("/", {}, repeatable=False), 60)
    assert (retries.after_status(status, "0") is not None) is again


def test_events_are_read_from_pieces_of_any_size():
    stream = ': hello\n\nid: 7\ndata: {"a":\ndata: "ü"}\n\nevent: lagged\ndata: {}\n\nid: 8\n\ndata: 1'.encode()
    for size in (1, 7, 1000):
        reader, events = EventReader(), []
        for start in range(0, len(stream), size):
            events += reader.read(stream[start : start + size])
        assert events == [("message", "7", '{"a":\n"ü"}'), ("lagged", None, "{}")]


def test_an_event_without_an_end_is_given_up(monkeypatch):
    monkeypatch.setattr("signal_broker_client.events.MAX_ANSWER_BYTES", 10)
    with pytest.raises(ClientError, match="longer than 10 bytes"):
        list(EventReader().read(bytes(11)))


def signed(body=b'{"id": 1}', *, at=NOW):
    signature = Webhook(SECRET).sign("1-1", datetime.fromtimestamp(at, UTC), body.decode())
    return {"Webhook-Id": "1-1", "WEBHOOK-TIMESTAMP": str(at), "webhook-signature": f"v1a,x v1,AAAA {signature}"}


def test_what_the_reference_signs_is_verified():
    assert verify(b'{"id": 1}', signed(), SECRET, now=NOW + 299) == {"id": 1}
    assert verify(b'{"id": 1}', signed(), ["whsec_AAAA", SECRET], now=NOW - 299) == {"id": 1}


@pytest.mark.parametrize(
    ("body", "changes", "now", "told"),
    [
        (b'{"id": 2}', {}, NOW, "no signature by this secret"),
        (b'{"id": 1}', {}, NOW + 301, "301 s ago"),
        (b'{"id": 1}', {}, NOW - 301, "301 s ahead"),
        (b'{"id": 1}', {"webhook-timestamp": "soon"}, NOW, "not a number"),
        (b'{"id": 1}', {"webhook-timestamp": "9" * 5000}, NOW, "not a number"),
        (b'{"id": 1}', {"webhook-id": "1-2"}, NOW, "no signature by this secret"),
        (b'{"id": 1}', {"webhook-id": ""}, NOW, "there is no header webhook-id"),
        (b'{"id": 1}', {"webhook-signature": "v1,ü"}, NOW, "no signature by this secret"),
    ],
)
def test_what_is_no_webhook_is_refused(body, changes, now, told):
    headers = {name.lower(): value for name, value in signed().items()} | changes
    with pytest.raises(InvalidWebhook, match=told):
        verify(body, headers, SECRET, now=now)


@pytest.mark.parametrize(
    ("body", "told"), [(b"[1]", "not a JSON object"), (b"{", "not JSON"), (b"[" * 200_000, "not JSON")]
)
def test_a_signed_body_that_is_no_object_is_refused(body, told):
    with pytest.raises(InvalidWebhook, match=told):
        verify(body, signed(body), SECRET, now=NOW)


def test_what_cannot_be_verified_at_all_is_an_error_of_the_caller():
    body = b'{"id": 1}'
    nan = float("nan")
    for options in ({"tolerance": nan, "now": NOW + 10_000}, {"now": nan}):
        with pytest.raises(ValueError, match="not NaN"):
            verify(body, signed(), SECRET, **options)
    with pytest.raises(TypeError, match="body must be the request's bytes, not str"):
        verify(body.decode(), signed(), SECRET, now=NOW)
    with pytest.raises(TypeError, match="the value of webhook-id must be a str, not list"):
        verify(body, signed() | {"Webhook-Id": ["1-1"]}, SECRET, now=NOW)
    assert verify(memoryview(body), signed(), SECRET, now=NOW) == {"id": 1}


@pytest.mark.parametrize("secret", ["whsec_ü", "whsec_", "", "whsk_" + "A" * 43 + "="])
def test_a_secret_that_is_none_is_an_error(secret):
    with pytest.raises(ValueError, match="must be a webhook secret"):
        verify(b"{}", {}, secret)


def signed_v1a(private, body=b'{"id": 1}'):
    moment = datetime.fromtimestamp(NOW, UTC)
    return signature_headers([private], message_id="1-1", timestamp=moment, body=body)


def test_a_public_key_verifies_the_example_of_the_specification():
    assert verify(V1A["body"].encode(), V1A["headers"], V1A["publicKey"], now=V1A["now"]) == {"test": 2432232314}


def test_what_the_server_signs_is_verified_with_any_of_its_public_keys_or_with_the_secret():
    (old, old_public), (new, new_public) = make_key_pair(), make_key_pair()
    headers = signed_v1a(new)
    body = b'{"id": 1}'
    for keys in (new_public, [old_public, new_public], [SECRET, new_public], [new_public, SECRET]):
        assert verify(body, headers, keys, now=NOW) == {"id": 1}
    signatures = [signed_v1a(private)["webhook-signature"] for private in (new, old)]
    rotating = headers | {"webhook-signature": " ".join(signatures)}
    assert verify(body, rotating, old_public, now=NOW) == verify(body, rotating, new_public, now=NOW)
    assert verify(body, signed(), [old_public, SECRET], now=NOW) == {"id": 1}


@pytest.mark.parametrize("change", V1A["wrong"], ids=lambda change: change["why"])
def test_a_signature_v1a_that_is_wrong_is_refused(change):
    body, keys = change.get("body", V1A["body"]).encode(), change.get("keys", [V1A["publicKey"]])
    with pytest.raises(InvalidWebhook, match=change["told"]):
        verify(body, V1A["headers"] | change.get("headers", {}), keys, now=change.get("now", V1A["now"]))


@pytest.mark.parametrize("key", ["whpk_", "whpk_" + "A" * 42 + "==", "whpk_" + "A" * 44, "whpk_ü"])
def test_a_public_key_that_is_none_is_an_error(key):
    with pytest.raises(ValueError, match="a public key must be whpk_ and 32 bytes in base64"):
        verify(b"{}", {}, key)


def test_without_cryptography_a_public_key_says_what_it_takes_and_secrets_verify():
    headers = signed()
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from signal_broker_client import verify\n"
        f"print(verify(b'{{\"id\": 1}}', {headers!r}, {SECRET!r}, now={NOW}))\n"
        "try: verify(b'{}', {}, 'whpk_')\nexcept ImportError as error: print(error)\n"
    )
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, env={"PYTHONPATH": str(SOURCE / "src")}, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == [
        "{'id': 1}",
        "a public key (v1a) takes cryptography: pip install signal-broker-client[v1a]",
    ]


@pytest.mark.parametrize("timeout", [0, 901, True, None])
def test_a_call_has_a_limit_of_time(timeout):
    with pytest.raises(WrongHandler, match="timeout: "):
        Handlers().on("a", name="book", timeout=timeout)(lambda _payload: None)


async def test_a_result_says_how_long_to_wait():
    handlers = Handlers("shop")

    @handlers.on("a")
    def book(_payload):
        raise TryLater(timedelta(minutes=5))

    assert (await handlers.try_out("a"))["book"].retry_after == timedelta(minutes=5)
