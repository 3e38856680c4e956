"""Whatever comes in, the answer is clear, in the dialect's form, in time, and no 500 but those Camunda documents."""

from __future__ import annotations

import gzip
import io

import pytest

from tests.support.forms import ROUTES, is_camunda, is_camunda8, is_native, is_unleash
from tests.support.throwing import NOWHERE, endpoint, matched, recorded, throw, token

JSON = {"Content-Type": "application/json"}
MIB = 1 << 20
BOMB = gzip.compress(b" " * (5 * MIB))
BOMB_IN_PARTS = gzip.compress(b" " * (MIB // 2)) * 3
DEEP = b"[" * 10_000 + b"]" * 10_000


MALFORMED = {
    "half a document": b'{"name":',
    "a single quote": b"{'name': 's'}",
    "a trailing comma": b'{"name": "s",}',
    "NaN": b'{"name": "s", "payload": NaN, "variables": {"a": {"value": NaN}}}',
    "Infinity": b'{"name": "s", "payload": -Infinity, "variables": {"a": {"value": Infinity}}}',
    "a list": b"[]",
    "a text": b'"s"',
    "a number": b"1",
    "a name that is a list": b'{"name": ["s"]}',
    "a name that is an object": b'{"name": {"s": 1}}',
    "ten thousand levels": b'{"name": "s", "payload": %b, "variables": {"a": {"value": %b}}}' % (DEEP, DEEP),
    "ten thousand open brackets": b"[" * 10_000,
    "bytes that are no UTF-8": b'{"name": "\xff\xfe"}',
    "a control character": b'{"name": "a\x00b"}',
    "an escaped NUL in the name": b'{"name": "a\\u0000b"}',
    "half a character in the name": b'{"name": "\\ud800"}',
    "an integer of five thousand digits": b'{"name": "s", "payload": %b, "variables": {"a": {"value": %b}}}'
    % (b"9" * 5000, b"9" * 5000),
    "gzip that is none": b"\x1f\x8b\x00",
}


@pytest.mark.parametrize("path", ROUTES)
async def test_a_malformed_body_is_a_400_in_the_dialects_form(client, path):
    for case, malformed in MALFORMED.items():
        status, _, body = await client.request("POST", path, data=malformed, headers=JSON)

        assert status == 400, (case, body)
        assert ROUTES[path](status, body), (case, body)


@pytest.mark.parametrize("path", ROUTES)
async def test_a_body_over_the_limit_is_a_413(client, path):
    async def chunks():
        for _ in range(17):
            yield b" " * (MIB // 16)

    for data in (io.BytesIO(b" " * (MIB + 1)), chunks()):
        status, _, body = await client.request("POST", path, data=data, headers=JSON)
        assert status == 413
        assert ROUTES[path](status, body)


@pytest.mark.parametrize("path", ROUTES)
async def test_a_wrong_content_type_is_a_415(client, path):
    for content_type in ("text/plain", "application/xml", "multipart/form-data; boundary=x"):
        status, _, body = await client.request("POST", path, data=b"{}", headers={"Content-Type": content_type})
        assert status == 415
        assert ROUTES[path](status, body)


ENCODINGS = ["br", "zstd", "compress", "gzip, gzip", "identity, gzip", "gzip, identity", "gzip;q=1", "*", "utf-8"]
CHARSETS = ["utf-16", "UTF-16LE", "utf-32", "utf-7", "no-such-charset", '"cp500"']


@pytest.mark.parametrize("path", [*ROUTES, "/v1/signals/batch", "/v1/users", "/v1/deliveries/redrive"])
async def test_what_is_not_read_is_a_415_and_not_taken_for_something_else(client, path):
    """The body would be read if it were taken for what it is not said to be."""
    form, body = ROUTES.get(path, is_native), b'{"name": "s", "signals": []}'
    refused = [{**JSON, "Content-Encoding": encoding} for encoding in ENCODINGS]
    refused += [{"Content-Type": f"application/json; charset={charset}"} for charset in CHARSETS]
    for headers in refused:
        status, _, answer = await client.request("POST", path, data=body, headers=headers)

        assert (status, form(status, answer)) == (415, True), headers


@pytest.mark.parametrize("path", ROUTES)
async def test_compressed_bodies_are_read_within_the_limit(client, path):
    headers = {**JSON, "Content-Encoding": "gzip"}

    for bomb in (BOMB, BOMB_IN_PARTS):
        status, _, body = await client.request("POST", path, data=bomb, headers=headers)
        assert status == 413
        assert ROUTES[path](status, body)
    member = gzip.compress(b'{"name": 5')
    for broken in (member[:-9], member + gzip.compress(b"}")[:-9], member + b"}"):
        status, _, body = await client.request("POST", path, data=broken, headers=headers)
        assert status == 400
        assert ROUTES[path](status, body)


WRONG_SPECS = {
    "no name": ({}, "/name"),
    "an empty name": ({"name": ""}, "/name"),
    "a number as a name": ({"name": 5}, "/name"),
    "a huge name": ({"name": "x" * 100_000}, "/name"),
    "a C1 control in the name": ({"name": "a\x9b31m"}, "/name"),
    "a line separator in the name": ({"name": "a\u2028b"}, "/name"),
    "a tenant that turns text around": ({"name": "a", "tenantId": "a\u202eb"}, "/tenantId"),
    "an execution with an isolate": ({"name": "a", "executionId": "a\u2066b"}, "/executionId"),
    "an ordering key with a mark": ({"name": "a", "orderingKey": "a\u200fb"}, "/orderingKey"),
    "256 characters": ({"name": "x" * 256}, "/name"),
    "256 bytes in 128 characters": ({"name": "ä" * 128}, "/name"),
    "a tenant that makes the key too long": ({"name": "x" * 200, "tenantId": "ä" * 9}, "/tenantId"),
    "an execution that makes the key too long": ({"name": "x" * 200, "executionId": "." * 15}, "/executionId"),
    "an empty tenant": ({"name": "s", "tenantId": ""}, "/tenantId"),
    "a NUL in the tenant": ({"name": "s", "tenantId": "a\0"}, "/tenantId"),
    "a NUL in the business key": ({"name": "s", "businessKey": "a\0"}, "/businessKey"),
    "a truth value as text": ({"name": "s", "withoutTenantId": "yes"}, "/withoutTenantId"),
    "an unknown member": ({"name": "s", "tenant": "acme"}, "/tenant"),
    "a tenant and an execution": ({"name": "s", "tenantId": "a", "executionId": "b"}, "/tenantId"),
    "two views of the same": ({"name": "s", "payload": 1, "variables": {}}, "/variables"),
    "JSON that is too deep": (
        {"name": "s", "variables": {"a": {"value": "[" * 250 + "]" * 250, "type": "Json"}}},
        "/variables/a",
    ),
    "a variable of no type": ({"name": "s", "variables": {"a/b": {"value": 1, "type": "int"}}}, "/variables/a~1b"),
}


@pytest.mark.parametrize("case", WRONG_SPECS)
async def test_wrong_terms_of_a_throw_are_refused_with_a_pointer_to_them(client, case):
    document, pointer = WRONG_SPECS[case]

    problem = await client.post("/v1/signals", document, expect=400)

    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert all(error["detail"] for error in problem["errors"])


async def test_names_are_bounded_in_every_dialect(client):
    for name in ("ä" * 128, "x" * 100_000):
        error = await client.post("/engine-rest/signal", {"name": name}, expect=400)
        assert error["type"] == "InvalidRequestException"
        assert "255" in error["message"]


STRANGE = {
    "the longest name": {"name": "ä" * 127 + "x"},
    "a NUL in the payload": {"name": "s", "payload": {"a\0": "\0"}},
    "half a character in the payload": {"name": "s", "payload": {"\ud800": ["\udfff"]}},
    "half a character in a variable": {"name": "s", "variables": {"\ud800": {"value": "\ud800"}}},
    "an empty payload": {"name": "s", "payload": None},
    "a name of blanks and dots": {"name": " .. "},
    "any script": {"name": "سياسة.政策.🦊", "tenantId": "🦊/%2F ü"},
}


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
@pytest.mark.parametrize("case", STRANGE)
async def test_what_is_only_strange_is_accepted_and_recorded_as_it_came(client, case):
    document = STRANGE[case]

    signal = await throw(client, **document)

    kept = await recorded(client, signal["id"])
    assert kept["name"] == document["name"]
    assert kept["payload"] == document.get("payload", kept["payload"])
    assert await matched(client, signal["id"]) == set()


IDS = ["0", "-1", str(1 << 63), "9" * 5000, "0" * 30 + "1", "abc", "٣", "%00", "%ff", "1%2F2", "0-0", "9-9"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("thing", ["signals", "subscriptions", "deliveries", "tokens"])
async def test_an_id_that_is_nobodys_is_a_404(client, method, thing):
    for id_ in IDS:
        status, _, body = await client.request(method, f"/v1/{thing}/{id_}")

        assert status == 404 or (status == 405 and method == "DELETE")
        assert is_native(status, body)


QUERIES = [
    "limit=0",
    "limit=-1",
    "limit=1001",
    "limit=abc",
    "limit=",
    "limit=1e3",
    "afterId=x",
    f"afterId={1 << 63}",
    "name=%00",
    "tenantId=%00",
    "executionId=a%0Ab",
    "name=%ed%a0%80%00",
]


@pytest.mark.parametrize("path", ["/v1/signals", "/v1/subscriptions"])
async def test_a_bad_query_parameter_is_a_400_that_names_it(client, path):
    for query in QUERIES:
        status, _, problem = await client.request("GET", f"{path}?{query}")

        assert status == 400, query
        assert problem["errors"][0]["pointer"] == "?" + query.partition("=")[0]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/signals?since=yesterday",
        "/v1/signals?until=2026-13-01",
        "/v1/signals?source=elsewhere",
        "/v1/signals?sourceId=x",
        "/v1/deliveries?state=lost",
        "/v1/deliveries?signalId=x",
        "/v1/deliveries?afterId=5",
        "/v1/deliveries?host=receiver.example:9000",
        "/v1/deliveries?host=https://receiver.example",
        "/v1/subscriptions?host=receiver.example/signals",
        "/v1/subscriptions?host=[::1]:9000",
        "/v1/subscriptions?host=",
        "/v1/ledger?subscriptionId=-1",
        "/v1/stats?step=90",
        "/v1/stats?step=0",
        "/v1/stats?step=x",
        "/v1/stats?by=target",
        "/v1/stats?since=yesterday",
        "/v1/stats?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
        "/v1/stats?since=2020-01-01T00:00:00Z&until=2026-01-01T00:00:00Z&step=3600",
        "/v1/stats?since=2020-01-01T00:00:00Z&until=2020-01-01T01:00:00Z",
        "/v1/stats?until=9999-12-31T23:59:59Z&step=86400",
        "/v1/stats?since=0001-01-01T00:00:00Z",
        "/v1/stats?subscriptionId=x",
        "/v1/stats?tenantId=",
        "/v1/stats?name=a%00",
        "/v1/stats?names=a",
    ],
)
async def test_a_bad_filter_is_a_400(client, path):
    status, _, problem = await client.request("GET", path)

    assert status == 400
    assert is_native(status, problem)


@pytest.mark.parametrize(
    ("method", "path", "status", "form"),
    [
        ("DELETE", "/v1/signals", 405, is_native),
        ("PUT", "/v1/signals", 405, is_native),
        ("POST", "/livez", 405, is_native),
        ("GET", "/v1/nothing", 404, is_native),
        ("POST", "/", 405, is_native),
        ("GET", "/%00", 404, is_native),
        ("GET", "/signal", 405, is_camunda),
        ("GET", "/engine-rest/nothing", 404, is_camunda),
        ("POST", "/signal/x", 404, is_camunda),
        ("GET", "/api/signal-endpoint/x", 405, is_unleash),
        ("GET", "/api/nothing", 404, is_unleash),
        ("PATCH", "/api/admin/signal-endpoints", 405, is_unleash),
        ("POST", "/API/Nothing", 404, is_unleash),
        ("GET", "/API/Signal-Endpoint/x", 405, is_unleash),
        ("POST", "/Engine-Rest/signal", 404, is_camunda),
        ("POST", "//SIGNAL//", 404, is_camunda),
        ("POST", "/Signal;a=b", 404, is_camunda),
        ("PUT", "/signal;a=b", 405, is_camunda),
        ("POST", "/engine-rest;a=b/signal", 404, is_camunda),
        ("POST", "/V2/Signals/Broadcast", 404, is_camunda8),
        ("POST", "/V1/signals", 404, is_native),
        ("POST", "/apis/signal-endpoint/x", 404, is_native),
    ],
)
async def test_wrong_methods_and_unknown_paths_are_told_in_the_dialects_form(client, method, path, status, form):
    found, headers, body = await client.request(method, path)

    assert found == status
    assert form(status, body)
    assert ("Allow" in headers) == (status == 405)


async def test_an_unknown_member_of_a_token_is_refused(client):
    problem = await client.post("/v1/tokens", {"name": "n", "permissions": ["fly"], "expires": 1}, expect=400)

    assert {error["pointer"] for error in problem["errors"]} == {"/permissions/0", "/expires"}


async def test_no_payload_brings_an_endpoint_down(client):
    made, value = await endpoint(client)
    caller = client.caller(value)
    for payload in MALFORMED.values():
        status, _, _ = await caller.request("POST", f"/api/signal-endpoint/{made['name']}", data=payload, headers=JSON)
        assert status in {200, 400}


@pytest.mark.parametrize("path", ROUTES)
async def test_a_missing_permission_is_a_403_in_the_dialects_form(client, path):
    caller = client.caller(await token(client, "signals:read"))
    further = {
        "/v1/subscriptions": {"target": {"kind": "webhook", "url": NOWHERE}},
        "/v1/tokens": {"permissions": ["admin"]},
    }

    status, _, body = await caller.request("POST", path, json={"name": "s", **further.get(path, {})})

    assert status == 403
    # Camunda's answer tells in further members what is missing.
    assert ROUTES[path](status, {key: body[key] for key in {*body} - CAMUNDAS_403})


CAMUNDAS_403 = {"userId", "resourceName", "resourceId", "permissionName", "missingAuthorizations"}
