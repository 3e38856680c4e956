"""CloudEvents that callers throw: by hand, as Knative sends them, and with the official SDKs."""

from __future__ import annotations

import base64
import io
import json
from datetime import UTC, datetime

import aiohttp
import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import fresh_id, recorded, recorded_ids, token

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


async def post(product, body, headers, *, value=ADMIN_TOKEN):
    """Return (status, headers, body) of a request with exactly these headers."""
    wanted = [("Authorization", f"Bearer {value}"), *(headers.items() if isinstance(headers, dict) else headers)]
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
        session.post(f"{product.url}/v1/cloudevents", data=body, headers=wanted) as answer,
    ):
        text = await answer.read()
        return answer.status, answer.headers, json.loads(text) if text else None


def event(name, **attributes):
    return {"specversion": "1.0", "id": fresh_id("event"), "source": "/tests", "type": name, **attributes}


def in_headers(attributes):
    return {f"ce-{key}": value for key, value in attributes.items()}


def pointers(problem):
    return [error["pointer"] for error in problem["errors"]]


async def test_a_structured_event_becomes_a_signal(client, product, name):
    data = '{"policy": 42.0, "é": [ ]}'
    document = event(name, tenantid="acme", partitionkey="order-7", expirytime="2027-01-01T00:00:00Z", subject="s")
    body = json.dumps(document)[:-1] + f', "data": {data}, "someextension": 5}}'
    status, headers, signal = await post(product, body.encode(), STRUCTURED)
    assert (status, headers["Location"]) == (202, f"/v1/signals/{signal['id']}")
    kept = await recorded(client, signal["id"])
    shown = {key: kept[key] for key in ("name", "scope", "tenantId", "orderingKey", "expiresAt", "source", "payload")}
    assert shown == {
        "name": name,
        "scope": "tenant",
        "tenantId": "acme",
        "orderingKey": "order-7",
        "expiresAt": "2027-01-01T00:00:00.000Z",
        "source": "native",
        "payload": {"policy": 42.0, "é": []},
    }


async def test_the_attributes_of_a_binary_event_are_unescaped_once(client, product, name):
    headers = in_headers(event(name)) | {
        "ce-tenantid": "M%C3%BCller%20%2541",
        "ce-partitionkey": '"a \\"quoted\\" key"',
        "Content-Type": "application/json; charset=UTF-8",
    }
    status, _, signal = await post(product, b' {"n": 1.50} ', headers)
    assert (status, signal["tenantId"], signal["orderingKey"]) == (202, "Müller %41", 'a "quoted" key')
    assert signal["payload"] == {"n": 1.5}


DATA = {
    "JSON": (b"[1, 2]", "application/json", [1, 2]),
    "JSON of a kind": (b'{"a": 1}', "application/vnd.acme+json", {"a": 1}),
    "JSON by default": (b'"a"', None, "a"),
    "text": ("grün".encode(), "text/plain; charset=utf-8", "grün"),
    "XML": (b"<a/>", "application/xml", "<a/>"),
    "bytes": (b"\x00\xff", "application/octet-stream", "AP8="),
    "nothing": (b"", None, {}),
}


@pytest.mark.parametrize("kind", DATA)
async def test_data_of_any_type_is_a_payload_in_either_mode(product, name, kind):
    data, content_type, payload = DATA[kind]
    headers = in_headers(event(name)) | ({} if content_type is None else {"Content-Type": content_type})
    _, _, binary = await post(product, data, headers)
    document = event(name, data_base64=base64.b64encode(data).decode())
    if content_type is not None:
        document["datacontenttype"] = content_type
    _, _, structured = await post(product, json.dumps(document).encode(), STRUCTURED)
    assert [binary["payload"], structured["payload"]] == [payload, payload]


async def test_the_same_id_and_source_are_the_same_event_in_whatever_mode_it_comes(client, product, name):
    document = event(name)
    body = json.dumps({**document, "data": {"a": 1}}).encode()
    _, first, signal = await post(product, body, STRUCTURED)
    _, again, same = await post(product, b'{ "a":1}', in_headers(document) | {"Content-Type": "application/json"})
    _, _, batch = await post(product, b"[" + body + b"]", BATCH)
    status, _, problem = await post(product, b'{"a": 2}', in_headers(document))
    _, _, other = await post(product, body, in_headers(document | {"source": "/others"}))
    assert (again["Idempotency-Replayed"], "Idempotency-Replayed" in first) == ("true", False)
    assert [same["id"], batch["results"]] == [signal["id"], [{"status": 202, "id": signal["id"]}]]
    assert (status, problem["detail"].partition(",")[0]) == (409, "An event with this source and id")
    assert await recorded_ids(client, name, 2) == [signal["id"], other["id"]]


async def test_of_a_batch_each_event_is_accepted_or_refused_by_itself(client, product, name):
    events = [
        event(name, data=1),
        event(name, id=5),
        "no event",
        event(name, tenantid="t", executionid="e"),
        event("$broker.mine"),
        event(name, data=2),
    ]
    status, _, answer = await post(product, json.dumps(events).encode(), BATCH)
    results = answer["results"]
    assert (status, [result["status"] for result in results]) == (200, [202, 400, 400, 400, 400, 202])
    refused = [pointers(result["problem"]) for result in results if "problem" in result]
    assert refused == [["/1/id"], ["/2"], ["/3/tenantid"], ["/4/type"]]
    assert results[1]["problem"]["detail"] == "/1/id: must be a string"
    assert await recorded_ids(client, name, 2) == [results[0]["id"], results[5]["id"]]


async def test_a_batch_may_be_empty(product):
    status, _, answer = await post(product, b"[]", BATCH)
    assert (status, answer) == (200, {"results": []})


async def test_a_batch_has_at_most_a_thousand_events(product, name):
    events = json.dumps([event(name)] * 1001).encode()
    status, _, problem = await post(product, events, BATCH)
    assert (status, problem["errors"][0]["detail"]) == (400, "has 1001 events; a batch has at most 1000")


WRONG = {
    "no id": ({"id": None}, ["/id"]),
    "an empty type": ({"type": ""}, ["/type"]),
    "another version": ({"specversion": "0.3"}, ["/specversion"]),
    "a source that is none": ({"source": "a b"}, ["/source"]),
    "a schema that is relative": ({"dataschema": "schema"}, ["/dataschema"]),
    "an empty subject": ({"subject": ""}, ["/subject"]),
    "a time without an offset": ({"time": "2026-01-01T00:00:00"}, ["/time"]),
    "a media type that is none": ({"datacontenttype": "json"}, ["/datacontenttype"]),
    "capital letters in a name": ({"tenantId": "a"}, ["/tenantId"]),
    "a fraction": ({"extension": 1.5}, ["/extension"]),
    "a large integer": ({"extension": 1 << 31}, ["/extension"]),
    "an object": ({"extension": {}}, ["/extension"]),
    "a control character": ({"extension": "a\nb"}, ["/extension"]),
    "two kinds of data": ({"data": 1, "data_base64": "AA=="}, ["/data_base64"]),
    "data that is no base64": ({"data_base64": "A"}, ["/data_base64"]),
    "bytes that are no JSON": ({"data_base64": "AA=="}, ["/data_base64"]),
    "a tenant that is too long": ({"tenantid": "a" * 256}, ["/tenantid"]),
    "a moment that has passed": ({"expirytime": "2020-01-01T00:00:00Z"}, ["/expirytime"]),
    "two things": ({"id": "", "time": "now"}, ["/id", "/time"]),
}


@pytest.mark.parametrize("kind", WRONG)
async def test_an_event_that_breaks_a_rule_is_refused_with_the_attribute_named(product, name, kind):
    changes, expected = WRONG[kind]
    status, _, problem = await post(product, json.dumps(event(name, **changes)).encode(), STRUCTURED)
    assert (status, pointers(problem)) == (400, expected)


WRONG_HEADERS = {
    "no attributes": ([], ["ce-specversion", "ce-id", "ce-source", "ce-type"]),
    "one twice": ([("ce-id", "2")], ["ce-id"]),
    "overlong UTF-8": ([("ce-extension", "%C0%A0")], ["ce-extension"]),
    "a name that is none": ([("ce-some_extension", "a")], ["ce-some_extension"]),
    "the data's type twice": ([("ce-datacontenttype", "text/plain")], ["ce-datacontenttype"]),
    "the data": ([("ce-data", "1")], ["ce-data"]),
    "another charset": ([("Content-Type", "text/plain; charset=latin1")], ["Content-Type"]),
    "no tenant": ([("ce-tenantid", "")], ["ce-tenantid"]),
}


@pytest.mark.parametrize(
    ("body", "mode"),
    [('{"specversion": "1.0"}', STRUCTURED), ('[{"specversion": "1.0"}]', BATCH)],
    ids=["structured", "batch"],
)
async def test_an_event_in_the_body_without_its_content_type_is_told_which_one_it_needs(product, body, mode):
    status, _, problem = await post(product, body.encode(), {"Content-Type": "application/json"})
    assert (status, pointers(problem)) == (400, ["Content-Type"])
    assert problem["detail"].startswith(f"Content-Type: must be {mode['Content-Type']}, since")


@pytest.mark.parametrize("body", ["{", "[]", "[1]", "5", '{"type": "a"}'])
async def test_a_body_without_an_event_is_told_which_headers_it_needs(product, body):
    status, _, problem = await post(product, body.encode(), {"Content-Type": "application/json"})
    assert (status, pointers(problem)) == (400, ["ce-specversion", "ce-id", "ce-source", "ce-type"])


@pytest.mark.parametrize("kind", WRONG_HEADERS)
async def test_what_is_wrong_with_a_header_is_told_by_its_name(product, name, kind):
    headers, expected = WRONG_HEADERS[kind]
    attributes = in_headers({} if kind == "no attributes" else event(name))
    status, _, problem = await post(product, b"", [*attributes.items(), *headers])
    assert (status, pointers(problem)) == (400, expected)


@pytest.mark.parametrize(
    "kind",
    ["application/cloudevents+xml", "application/cloudevents", "application/json; charset=latin1"],
)
async def test_another_format_or_charset_is_refused(product, kind):
    status, _, problem = await post(product, b"<event/>", {"Content-Type": kind})
    assert (status, problem["status"]) == (415, 415)


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"1"])
async def test_a_body_that_is_no_event_is_refused(product, body):
    status, _, problem = await post(product, body, STRUCTURED)
    assert (status, problem["title"]) == (400, "Bad Request")


async def test_too_much_is_refused(product, name):
    body = io.BytesIO(b'"' + b"a" * (1 << 20) + b'"')
    status, _, _ = await post(product, body, in_headers(event(name)) | {"Content-Type": "text/plain"})
    assert status == 413


@pytest.mark.parametrize(("data", "kind"), [(b"\x01", "text/plain"), (b"\xff", "application/octet-stream")])
async def test_what_is_too_much_as_json_is_refused(product, name, data, kind):
    headers = in_headers(event(name)) | {"Content-Type": kind}
    status, _, problem = await post(product, io.BytesIO(data * 900_000), headers)
    assert (status, problem["detail"].partition(" bytes;")[2]) == (413, " at most 1048576 are taken.")


async def test_only_those_may_throw_an_event_who_may_throw_the_signal(client, product, name):
    headers = in_headers(event(name))
    limited = await token(client, "signals:throw", tenants=["mine"])
    assert (await post(product, b"", headers, value="nothing"))[0] == 401
    assert (await post(product, b"", headers, value=await token(client, "signals:read")))[0] == 403
    assert (await post(product, b"", headers | {"ce-tenantid": "other"}, value=limited))[0] == 403
    assert (await post(product, b"", headers | {"ce-tenantid": "mine"}, value=limited))[0] == 202


async def test_an_answer_to_knative_has_no_body_which_it_would_take_for_a_broken_reply(client, product, name):
    """Its broker filter fails a delivery whose answer has a body that is no event, and asks for replies so."""
    headers = in_headers(event(name)) | {
        "Ce-Knativearrivaltime": "2026-11-28T10:00:00.123456789Z",
        "Content-Type": "application/json",
        "Kn-Namespace": "default",
        "Prefer": "reply",
        "User-Agent": "Go-http-client/1.1",
    }
    status, answered, body = await post(product, b'{"policy":42}', headers)
    assert (status, body) == (202, None)
    signal = await recorded(client, answered["Location"].rpartition("/")[2])
    assert signal["payload"] == {"policy": 42}


async def test_the_trace_of_an_event_is_carried_along(client, product, webhooks, name):
    await client.post("/v1/subscriptions", {"name": name, "target": {"kind": "webhook", "url": webhooks.url()}})
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await post(product, b"", in_headers(event(name, traceparent=trace)))
    (request,) = await eventually(lambda: [one for one in webhooks.requests if json.loads(one.body)["name"] == name])
    assert request.headers["traceparent"] == trace


async def test_the_python_sdk_throws(product, name):
    written = CloudEvent(
        attributes={"type": name, "source": "/tests", "id": fresh_id("event"), "specversion": "1.0"}
        | {"time": datetime.now(UTC), "tenantid": "Müller 5%", "datacontenttype": "application/json"},
        data={"policy": 42},
    )
    for message in (to_binary_event(written), to_structured_event(written)):
        body = message.body if isinstance(message.body, bytes) else message.body.encode()
        status, _, signal = await post(product, body, dict(message.headers))
        assert (status, signal["name"], signal["tenantId"]) == (202, name, "Müller 5%")
        assert signal["payload"] == {"policy": 42}
