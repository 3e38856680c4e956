"""Requests leave one line in the log if they were refused, and one if they may have changed something."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.eventually import eventually
from tests.support.product import Process, client_of
from tests.support.proxy import proxy
from tests.support.throwing import subscribe, throw, token
from tests.support.waiting import logged

EVENTS = {"request.answered", "request.refused", "request.postponed"}


@pytest.fixture
async def fresh(database_url, tmp_path):
    """Return a client of a product of this test's own, that product, and the proxy between it and its PostgreSQL."""
    async with proxy(database_url) as link:
        environment = {"STORE_URL": link.url, "DATA_DIR": str(tmp_path), "STORE_TIMEOUT_SECONDS": "1"}
        async with (
            Process("run", environment=environment, log=tmp_path / "log") as process,
            client_of(process.url) as client,
        ):
            yield client, process, link


async def lines_of(process, count):
    """Return the lines of requests, without times, once there are so many; and see that there are no more."""

    def of_requests(lines):
        return [line for line in lines if line["event"] in EVENTS]

    lines = of_requests(await logged(process.log, lambda lines: len(of_requests(lines)) >= count))
    assert len(lines) == count, lines
    for line in lines:
        assert 0 <= line.pop("seconds") < 60
        assert line.pop("timestamp")
        assert line.pop("address") == "127.0.0.1"
    return lines


@pytest.mark.slow
async def test_what_changes_something_leaves_one_line_with_its_caller(fresh, name):
    client, process, _ = fresh
    subscription = await subscribe(client, name)
    await throw(client, name)
    await client.get(f"/v1/subscriptions/{subscription['id']}")
    await client.get("/v1/ledger")
    assert (await client.request("DELETE", f"/v1/subscriptions/{subscription['id']}"))[0] == 204
    common = {"event": "request.answered", "level": "info", "principal": "admin"}
    assert await lines_of(process, 2) == [
        {**common, "method": "POST", "route": "/v1/subscriptions", "status": 201},
        {**common, "method": "DELETE", "route": "/v1/subscriptions/{id}", "status": 204},
    ]


@pytest.mark.slow
async def test_what_is_refused_leaves_one_line_with_the_reason_and_without_what_may_be_a_secret(fresh, name):
    client, process, _ = fresh
    limited = client.caller(await token(client, "signals:read"))
    await client.caller("sb_wrong-token").post("/v1/signals", {"name": name}, expect=401)
    await limited.post("/v1/signals", {"name": name}, expect=403)
    await client.post("/v1/signals", {"name": "", "payload": 1, "priority": 1}, expect=400)
    assert (await client.request("GET", "/v1/subscriptions/hunter2"))[0] == 404
    assert (await client.request("GET", "/nothing/here"))[0] == 404
    await client.post("/v1/signals/batch", {"signals": [{"name": name}, {"name": ""}]}, expect=200)
    assert (await client.request("GET", "/livez"))[0] == 200
    made, *lines = await lines_of(process, 7)

    assert made["route"] == "/v1/tokens"
    assert {line.pop("level") for line in lines} == {"info"}
    assert {line.pop("event") for line in lines} == {"request.refused"}
    wrong, forbidden, invalid, missing, unknown, batch = lines
    throwing = {"method": "POST", "route": "/v1/signals"}
    assert wrong.pop("reason").startswith("Valid credentials are needed")
    assert wrong == {**throwing, "status": 401, "principal": None}
    assert "signals:throw" in forbidden.pop("reason")
    assert forbidden.pop("principal") not in {None, "admin"}
    assert forbidden == {**throwing, "status": 403}
    assert set(invalid.pop("fields")) == {"/name", "/priority"}
    assert invalid == {**throwing, "status": 400, "principal": "admin", "reason": "Bad Request"}
    assert missing == {
        "method": "GET",
        "route": "/v1/subscriptions/{id}",
        "status": 404,
        "principal": "admin",
        "reason": "Not Found",
    }
    assert (unknown["route"], unknown["path"], unknown["reason"]) == ("other", "/nothing/here", "Not Found")
    assert (batch["route"], batch["status"], batch["reason"]) == ("/v1/signals/batch", 200, "Bad Request")
    assert "hunter2" not in process.log.read_text()


@pytest.mark.slow
async def test_what_is_refused_because_of_the_server_leaves_a_warning_with_the_cause(fresh, name):
    client, process, link = fresh
    link.cut()
    await client.post("/v1/signals", {"name": name}, expect=503)
    [line] = await lines_of(process, 1)
    assert (line["event"], line["level"], line["status"]) == ("request.postponed", "warning", 503)
    assert line["reason"].startswith("PostgreSQL: ")


@pytest.mark.slow
async def test_what_cannot_be_read_leaves_a_line(fresh):
    client, process, _ = fresh
    host, port = client.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/signals HTTP/1.1\r\nHost: a\r\nbroken\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    [line] = await lines_of(process, 1)
    assert (line["status"], line["route"], line["path"]) == (400, "other", "/v1/signals")
    assert (line["event"], line["reason"].split(":")[0]) == ("request.refused", "The request is malformed")
    assert "broken" not in line["reason"]


@pytest.mark.slow
async def test_what_is_no_json_is_told_as_to_the_caller_and_nothing_of_it_is_logged(fresh, name):
    client, process, _ = fresh
    for path in ("/v1/signals", "/v1/cloudevents", "/engine-rest/signal"):
        for body in (b"{hunter2", b'{"name": "hunter2" hunter2}', b'{"name": "\xff hunter2"}', b'"hunter2" hunter2'):
            await client.request("POST", path, data=body, headers={"Content-Type": "application/json"})
    lines = await lines_of(process, 12)
    told = [line["reason"] for line in lines]
    assert told[0].startswith("The body is not JSON: ")
    assert told[0].endswith("line 1 column 2 (char 1).")
    assert {line["status"] for line in lines} == {400}
    assert "hunter2" not in process.log.read_text()


@pytest.mark.slow
async def test_a_flood_of_wrong_credentials_does_not_fill_the_log_nor_hide_others(fresh, name):
    client, process, _ = fresh
    stranger = client.caller("sb_wrong-token")
    for _ in range(10):
        await asyncio.gather(*(stranger.post("/v1/signals", {"name": name}, expect=401) for _ in range(10)))
    assert (await client.request("GET", "/v1/signals/x"))[0] == 404

    def seen(lines):
        return [line for line in lines if line.get("status") == 404]

    lines = await logged(process.log, seen)
    assert 20 <= len([line for line in lines if line.get("status") == 401]) < 100

    async def is_told():
        await stranger.post("/v1/signals", {"name": name}, expect=401)
        return "unlogged" in process.log.read_text()

    await eventually(is_told)
