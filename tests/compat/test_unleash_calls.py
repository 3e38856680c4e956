"""Calls of signal endpoints as Unleash's server takes and answers them (its parsers, credentials, rate limit)."""

from __future__ import annotations

import gzip
import io
import json
import zlib

import pytest

from tests.support.eventually import eventually
from tests.support.forms import is_unleash
from tests.support.throwing import endpoint, recorded, token

LIMIT = 102_400
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def call(client):
    """Return a function that calls a new endpoint; it returns (status, headers, document)."""
    made, value = await endpoint(client)
    caller = client.caller(value)

    async def call(body=b"", path=f"/api/signal-endpoint/{made['name']}", **headers):
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return await caller.request("POST", path, data=body, headers=named, skip_auto_headers=["Content-Type"])

    call.name, call.token = made["name"], value
    return call


TEXT = '{"a": "ä"}'
READ = {
    "no type": (b'{"a": 1}', {}, {}),
    "JSON of a vendor": (b'{"a": 1}', {"Content-Type": "application/vnd.api+json"}, {}),
    "text of any size in any encoding": (b"x" * 2 * LIMIT, {"Content-Type": "text/plain", "Content-Encoding": "x"}, {}),
    "UTF-16": (TEXT.encode("utf-16-le"), {"Content-Type": 'application/json; charset="UTF-16LE"'}, {"a": "ä"}),
    "a nested form": (b"alert[labels][]=a&alert[labels][]=b+c", FORM, {"alert": {"labels": ["a", "b c"]}}),
    "a form in Latin-1": (b"a=\xe4%e4", {"Content-Type": FORM["Content-Type"] + "; charset=ISO-8859-1"}, {"a": "ää"}),
    "gzip": (gzip.compress(TEXT.encode()), {**JSON, "Content-Encoding": "GZIP"}, {"a": "ä"}),
    "gzip by its old name": (gzip.compress(TEXT.encode()), {**JSON, "Content-Encoding": "x-gzip"}, {"a": "ä"}),
    "gzip of several members": (
        gzip.compress(TEXT[:5].encode()) + gzip.compress(TEXT[5:].encode()),
        {**JSON, "Content-Encoding": "gzip"},
        {"a": "ä"},
    ),
    "gzip in a list": (gzip.compress(b"{}"), {**JSON, "Content-Encoding": "gzip,"}, {}),
    "deflate": (zlib.compress(TEXT.encode()), {**JSON, "Content-Encoding": "deflate"}, {"a": "ä"}),
    "identity": (TEXT.encode(), {**JSON, "Content-Encoding": "identity"}, {"a": "ä"}),
    "a repeated name": (b'{"a": 1, "a": 2}', JSON, {"a": 2}),
    "NUL and half a character": (rb'{"a": "\u0000\ud800"}', JSON, {"a": "\0\ud800"}),
}


async def test_a_body_is_read_as_express_reads_it(call):
    for case, (body, headers, payload) in READ.items():
        status, _, document = await call(body, **headers)

        assert (status, document["signals"][0]["payload"]) == (200, payload), case


@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_payload_is_kept_byte_for_byte(client, call):
    body = b'{ "n": 1e2,\t"n": 12345678901234567890123,\n"t": "\\u00e4" }'

    async with client._session.post(  # noqa: SLF001  (the bytes of the answer)
        f"{client.url}/api/signal-endpoint/{call.name}", data=body, headers={**JSON, "Authorization": call.token}
    ) as response:
        answer = await response.read()

    assert body in answer
    kept = await recorded(client, json.loads(answer)["signals"][0]["id"])
    assert kept["payload"] == {"n": 12345678901234567890123, "t": "ä"}


EXACTLY = b'{"a":"%b"}' % (b"x" * (LIMIT - 8))
REFUSED = {
    "one byte too many": (EXACTLY + b" ", JSON, 413, "request entity too large"),
    "one byte too many, chunked": (io.BytesIO(EXACTLY + b" "), JSON, 413, "request entity too large"),
    "one byte too many, inflated": (
        gzip.compress(EXACTLY + b" "),
        {**JSON, "Content-Encoding": "gzip"},
        413,
        "request entity too large",
    ),
    "a bomb": (
        gzip.compress(bytes(64 << 20)),
        {**JSON, "Content-Encoding": "gzip"},
        413,
        "request entity too large",
    ),
    "a thousand and one parameters": (b"&" * 1000, FORM, 413, "too many parameters"),
    "33 levels of a form": (b"a" + b"[b]" * 33, FORM, 400, "The input exceeded the depth"),
    "another charset": (b"{}", {"Content-Type": "application/json; charset=foo"}, 415, 'unsupported charset "FOO"'),
    "another charset of a form": (
        b"a=1",
        {"Content-Type": FORM["Content-Type"] + "; charset=utf-16"},
        415,
        'unsupported charset "UTF-16"',
    ),
    "brotli": (b"{}", {**JSON, "Content-Encoding": "br"}, 415, 'unsupported content encoding "br"'),
    "two encodings": (b"{}", {**JSON, "Content-Encoding": "gzip,br"}, 415, 'unsupported content encoding "gzip, br"'),
    "identity beside another": (
        gzip.compress(b"{}"),
        {**JSON, "Content-Encoding": "identity, gzip"},
        415,
        'unsupported content encoding "identity, gzip"',
    ),
    "no gzip": (b"{}", {**JSON, "Content-Encoding": "gzip"}, 400, "The body is not encoded as its header says: gzip."),
    "half a document": (b"{", JSON, 400, "The body is not JSON: "),
    "null": (b"null", JSON, 400, "The payload of a signal must be a JSON object."),
    "deep nesting": (b'{"a":' * 300 + b"1" + b"}" * 300, JSON, 400, "The body is not JSON: nested too deep."),
}
NAMES = {400: "BadDataError", 413: "PayloadTooLargeError", 415: "ContentTypeError"}


async def test_a_body_that_express_refuses_is_refused_in_its_words(call):
    for case, (body, headers, status, message) in REFUSED.items():
        found, _, error = await call(body, **headers)

        assert (found, error["name"]) == (status, NAMES[status]), (case, error)
        assert error["message"].startswith(message), case
        assert is_unleash(found, error)


IGNORED = {
    "text/plain; charset=UTF-8": "the body was ignored: it is text/plain, not application/json",
    "application/cloudevents+json": "the body was ignored: it is application/cloudevents+json, not application/json",
    "application/octet-stream": "the body was ignored: it is application/octet-stream, not application/json",
    None: "the body was ignored: it is without a content type, not application/json",
}


async def test_a_caller_whose_body_is_ignored_is_told_so(product, call):
    """Amazon SNS sends JSON as text/plain."""
    for kind, warning in IGNORED.items():
        status, headers, document = await call(b'{"Type": "Notification"}', **({"Content-Type": kind} if kind else {}))

        assert (status, document["signals"][0]["payload"]) == (200, {})
        assert headers["Signal-Broker-Warning"] == warning
        line = f'"signal_id":{document["signals"][0]["id"]},'
        await eventually(lambda line=line: line in product.log.read_text())
    for body, headers in ((b"", {}), (b"", {"Content-Type": "text/plain"}), (b"{}", JSON), (b"a=1", FORM)):
        assert "Signal-Broker-Warning" not in (await call(body, **headers))[1]


async def test_exactly_a_hundred_kibibytes_pass_also_as_a_little_more_of_gzip(call):
    stored = gzip.compress(EXACTLY, 0)
    assert len(stored) > LIMIT

    assert (await call(EXACTLY, **JSON))[0] == 200
    assert (await call(stored, **JSON, Content_Encoding="gzip"))[0] == 200


async def test_tokens_are_taken_in_the_forms_that_unleash_takes(client, call):
    stranger, path = client.caller(""), f"/api/signal-endpoint/{call.name}"
    forms = {
        call.token: 200,
        f"Bearer {call.token}": 200,
        f"bEaReR   {call.token}": 200,
        f"Bearer{call.token}": 401,
        f"Basic {call.token}": 401,
        f"{call.token}x": 401,
        call.token[:-1]: 401,
        call.token.upper(): 401,
        "Bearer": 401,
        await token(client, "admin"): 401,
    }

    for header, status in forms.items():
        found, _, error = await stranger.request("POST", path, headers={"Authorization": header})
        assert found == status, header
        assert status == 200 or error["name"] == "UnauthorizedError"


async def test_nothing_is_read_and_no_name_is_known_to_whoever_has_no_token(client, call):
    stranger = client.caller("")
    for name in (call.name, "nobody-made-this"):
        status, _, error = await stranger.request("POST", f"/api/signal-endpoint/{name}", data=b"{", headers=JSON)

        assert (status, error["name"]) == (401, "AuthenticationRequired")


async def test_repeated_slashes_count_as_one(client, call):
    assert (await call(path=f"//api///signal-endpoint//{call.name}"))[0] == 200
    assert (await client.request("GET", "/api//admin///signal-endpoints"))[0] == 200
    status, headers, error = await client.request("GET", f"//api//signal-endpoint//{call.name}")
    assert (status, error["name"], headers["Allow"]) == (405, "MethodNotAllowedError", "OPTIONS, POST")


async def test_slashes_at_the_end_do_not_count(client, call):
    """Express routes are not strict."""
    made = (await client.get("/api/admin/signal-endpoints/"))["signalEndpoints"]
    of_one = f"/api/admin/signal-endpoints/{made[-1]['id']}"

    assert (await call(path=f"/api/signal-endpoint/{call.name}/"))[0] == 200
    assert (await call(path=f"/api/signal-endpoint/{call.name}//?a=/"))[0] == 200
    for path in ("/api/admin/signals/", f"{of_one}/tokens/", f"{of_one}/signals/"):
        await client.get(path)
    await client.post(f"{of_one}/on/", {}, expect=200)
    await client.post("/api/admin/signal-endpoints/", {"name": f"{call.name}-2"}, expect=201)
    assert (await call(path=f"/api/signal-endpoint/{call.name}/x"))[0] == 404


async def test_paths_may_be_written_in_any_letter_case(client, call):
    """Express routes are not case-sensitive; the names in them are."""
    made = (await client.get("/API/Admin/Signal-Endpoints"))["signalEndpoints"]
    of_one = f"/Api/ADMIN/signal-Endpoints/{made[-1]['id']}"

    for path in ("/API/signal-endpoint/", "/api/Signal-Endpoint/", "//API//SIGNAL-ENDPOINT///"):
        assert (await call(path=path + call.name))[0] == 200, path
    await client.get("/api/admin/Signals/")
    await client.get(f"{of_one}/Tokens")
    await client.post(f"{of_one}/ON", {}, expect=200)
    others = ("", f"/{call.name.upper()}", f"/{call.name}/x")
    for path in (*(f"/API/Signal-Endpoint{rest}" for rest in others), f"/api/\u017fignal-endpoint/{call.name}"):
        status, _, error = await call(path=path)
        assert (status, error["name"], is_unleash(status, error)) == (404, "NotFoundError", True), path


@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_call_repeated_with_its_key_is_answered_with_the_first_signal(client, call, name):
    first, again = [await call(b'{"n": 1}', **JSON, Idempotency_Key=name) for _ in range(2)]
    status, _, error = await call(b'{"n": 2}', **JSON, Idempotency_Key=name)

    assert (first[0], again[0]) == (200, 200)
    assert again[2] == first[2]
    assert ("Idempotency-Replayed" in first[1], again[1].get("Idempotency-Replayed")) == (False, "true")
    assert (status, error["name"], is_unleash(status, error)) == (409, "ConflictError", True)


@pytest.mark.slow
async def test_the_rate_limit_is_told_with_every_answer_and_strangers_do_not_use_it_up(product, client, call):
    """A gateway of its own: the limit is off unless it is set. Whole seconds decide, so what is refused is awaited."""
    async with product.sibling("gateway", SIGNAL_ENDPOINT_RATE_LIMIT_PER_SECOND="1") as gateway:
        url = f"{gateway.url}/api/signal-endpoint/{call.name}"

        async def ask(value, body=b""):
            headers = {**JSON, "Authorization": value}
            async with client._session.post(url, data=body, headers=headers) as response:  # noqa: SLF001
                told = [response.headers[f"RateLimit-{part}"] for part in ("Policy", "Limit", "Reset")]
                assert told == ["1;w=1", "1", "1"]
                return response.status, response.headers, await response.json()

        async def refused(value):
            status, headers, error = await ask(value)
            if status != 429:
                return None
            assert (headers["Retry-After"], headers["RateLimit-Remaining"]) == ("1", "0")
            assert is_unleash(status, error)
            assert error["name"] == "TooManyRequestsError"
            return True

        assert await eventually(lambda: refused("signal_wrong"), every=0)
        status, headers, _ = await ask(call.token)
        assert (status, headers["RateLimit-Remaining"]) == (200, "0")
        assert await eventually(lambda: refused(call.token), every=0)

        async def malformed():
            return (await ask(call.token, b"{"))[0] == 400

        assert await eventually(malformed)


@pytest.mark.parametrize("path", ["/health", "/health/", "/HEALTH"])
async def test_the_server_says_that_it_is_well(client, path):
    status, _, body = await client.caller("").request("GET", path)

    assert (status, body) == (200, {"health": "GOOD"})


async def test_what_the_health_does_not_have_is_refused_in_unleashs_form(client):
    status, headers, body = await client.request("POST", "/health", json={})

    assert (status, headers["Allow"], body["name"]) == (405, "GET, HEAD, OPTIONS", "MethodNotAllowedError")
