"""Signals that are followed as they are recorded: server-sent events."""

from __future__ import annotations

import asyncio
import select
import socket
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest

from tests.support.eventually import eventually
from tests.support.following import following
from tests.support.product import client_of
from tests.support.throwing import fresh_id, recorded, throw, token

pytestmark = [pytest.mark.slow, pytest.mark.transports("embedded", "rabbitmq")]


async def test_each_recorded_signal_is_an_event(client, name):
    async with following(client, f"?name={name}.%23") as tail:
        thrown = [await throw(client, f"{name}.{number}", payload={"text": "a\nb", "n": number}) for number in range(3)]
        await throw(client, f"other-{name}")
        await eventually(lambda: len(tail.events) >= 3)
    shown = [await client.get(f"/v1/signals/{one['id']}") for one in thrown]
    assert sorted(tail.events, key=lambda event: event[0]) == [(one["id"], None, one) for one in shown]


async def test_a_payload_with_line_breaks_is_one_event(client, name):
    body = b'{"name": "%b", "payload": {\n"a":\r\n [1,\n2]}}' % name.encode()
    async with following(client, f"?name={name}") as tail:
        status, _, _ = await client.request(
            "POST", "/v1/signals", data=body, headers={"Content-Type": "application/json"}
        )
        assert status == 202
        await eventually(lambda: tail.events)
    assert tail.events[0][2]["payload"] == {"a": [1, 2]}


async def test_it_goes_on_after_the_last_event_without_a_gap_or_a_repeat(client, name):
    """Signals come all the time, before, while and after somebody who was away follows again."""
    thrown, stop = [], asyncio.Event()

    async def throw_all_the_time():
        while not stop.is_set():
            thrown.append((await throw(client, name))["id"])

    first = (await throw(client, name))["id"]
    await recorded(client, first)
    throwing = asyncio.create_task(throw_all_the_time())
    await eventually(lambda: len(thrown) > 20)
    async with following(client, f"?name={name}", after=first) as tail:
        await eventually(lambda: len(thrown) > 60)
        stop.set()
        await throwing
        await eventually(lambda: len(tail.events) >= len(thrown))
    assert sorted(tail.ids) == sorted(thrown)


async def test_from_zero_it_tells_everything(client, name):
    thrown = [(await throw(client, name))["id"] for _ in range(3)]
    await recorded(client, thrown[-1])
    async with following(client, f"?name={name}", after=0) as tail:
        await eventually(lambda: len(tail.events) >= 3)
    assert sorted(tail.ids) == thrown


async def test_limits_narrow_what_is_told(client, name):
    mine, theirs = fresh_id("tenant"), fresh_id("tenant")
    limited = await token(client, "signals:read", names=[f"{name}.mine.#"], tenants=[mine])
    async with following(client, "?name=%23", value=limited) as tail:
        seen = [
            await throw(client, f"{name}.mine.1", tenantId=mine),
            await throw(client, f"{name}.mine.2"),
        ]
        await throw(client, f"{name}.mine", tenantId=theirs)
        await throw(client, f"{name}.mine", withoutTenantId=True)
        await throw(client, f"{name}.other", tenantId=mine)
        last = await throw(client, f"{name}.mine.last", tenantId=mine)
        await eventually(lambda: len(tail.ids) >= 3)
    assert sorted(tail.ids) == [seen[0]["id"], seen[1]["id"], last["id"]]
    status, _, _ = await client.caller(limited).request("GET", f"/v1/signals/tail?name={name}.other")
    assert status == 403
    async with following(client, f"?name={name}.%23&tenantId={mine}") as tail:
        hidden = await throw(client, f"{name}.x", tenantId=theirs)
        last = await throw(client, f"{name}.x", tenantId=mine)
        await eventually(lambda: last["id"] in tail.ids)
    assert hidden["id"] not in tail.ids


async def test_who_may_not_read_follows_nothing(client):
    for value, expected in ((await token(client, "signals:throw"), 403), ("sb_nobody", 401)):
        status, _, _ = await client.caller(value).request("GET", "/v1/signals/tail")
        assert status == expected


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 30, "0" * 5000 + "1", "\u0662"])
async def test_a_bad_last_event_id_is_a_400(client, value):
    status, _, body = await client.request("GET", "/v1/signals/tail", headers={"Last-Event-ID": value})
    assert (status, body["errors"][0]["pointer"]) == (400, "Last-Event-ID")


async def test_who_reads_too_slowly_is_told_and_cut_and_slows_nobody(client, name):
    """One takes nothing from its socket; the other one gets everything."""
    parts = urlsplit(client.url)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    slow.connect((parts.hostname, parts.port))
    head = f"GET /v1/signals/tail?name={name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n\r\n"
    slow.sendall(head.encode())
    try:
        async with following(client, f"?name={name}") as tail:
            large = {"text": "x" * 900_000}
            thrown = [(await throw(client, name, payload=large))["id"] for _ in range(20)]
            await eventually(lambda: len(tail.events) >= 20, within=60)
        assert sorted(tail.ids) == sorted(thrown)
        slow.settimeout(10)
        received = bytearray()
        while piece := await asyncio.to_thread(slow.recv, 1 << 20):
            received += piece
    finally:
        slow.close()
    assert received.endswith(b"event: lagged\ndata: {}\n\n\r\n0\r\n\r\n")
    assert received.count(b"id: ") < 20


async def test_hundreds_follow_at_a_time(client, name):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        headers = {"Authorization": f"Bearer {client.token}"}
        answers = await asyncio.gather(
            *(session.get(f"{client.url}/v1/signals/tail?name={name}", headers=headers) for _ in range(500))
        )
        signal = await throw(client, name)

        async def first_id(answer):
            while not (line := await answer.content.readline()).startswith(b"id: "):
                pass
            return int(line[4:])

        async with asyncio.timeout(20):
            found = await asyncio.gather(*map(first_id, answers))
        for answer in answers:
            answer.close()
    assert found == [signal["id"]] * 500


async def test_a_gateway_that_stops_ends_the_answers(product):
    async with product.sibling("gateway") as gateway, client_of(gateway.url) as other, following(other) as tail:
        assert await gateway.stop(within=10) == 0
        await eventually(lambda: tail.ended)


async def test_who_may_not_read_any_more_follows_no_longer_although_signals_come(client, name):
    made = await client.post("/v1/tokens", {"name": name, "permissions": ["signals:read"]})
    async with following(client, f"?name={name}", value=made["token"]) as tail:
        status, _, _ = await client.request("DELETE", f"/v1/tokens/{made['id']}")
        assert status == 204

        async def ended():
            await throw(client, name)
            return tail.ended

        await eventually(ended, within=40, every=1.0)


async def test_a_head_is_answered_without_events(client):
    status, headers, body = await client.request("HEAD", "/v1/signals/tail", headers={"Last-Event-ID": "0"})
    assert (status, headers["Content-Type"].partition(";")[0], body) == (200, "text/event-stream", b"")


async def test_those_who_catch_up_and_do_not_read_hold_up_no_end_and_take_little(product, client, name):
    """Each of them would have a page of the history in memory."""
    async with product.sibling("gateway") as gateway:
        thrown = [await throw(client, name, payload={"text": "x" * 900_000}) for _ in range(12)]
        await recorded(client, thrown[-1]["id"])
        parts = urlsplit(gateway.url)
        head = f"GET /v1/signals/tail?name={name} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\n"
        sockets = []
        try:
            for _ in range(60):
                one = socket.socket()
                sockets.append(one)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                one.connect((parts.hostname, parts.port))
                one.sendall(f"{head}Authorization: Bearer {client.token}\r\n\r\n".encode())
            await eventually(lambda: any(select.select(sockets, [], [], 0)[0]))
            await asyncio.sleep(1)
            used = psutil.Process(gateway.process.pid).memory_info().rss
            assert await gateway.stop(within=10) == 0
        finally:
            for one in sockets:
                one.close()
    assert used < 250 << 20
