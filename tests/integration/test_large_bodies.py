"""Large bodies and long answers share a bounded room in the gateway's memory."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from urllib.parse import urlsplit

import pytest

from gateway.rooms import MOST_ARRIVED, MOST_WAITING
from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN, client_of
from tests.support.throwing import recorded, recorded_ids

pytestmark = pytest.mark.slow

LARGE = 1 << 20
FIT = MOST_ARRIVED // LARGE
BODIES = {
    "/v1/signals": {"name": "large", "payload": "x" * (LARGE - 100)},
    "/engine-rest/signal": {"name": "large", "variables": {"text": {"value": "x" * (LARGE - 100)}}},
    "/v2/signals/broadcast": {"signalName": "large", "variables": {"text": "x" * (LARGE - 100)}},
}


@asynccontextmanager
async def sending_slowly(url, count, *, length=f"Content-Length: {LARGE}", begun=b'{"name": '):
    """Begin *count* large throws and never end them."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    head = (
        f"POST /v1/signals HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
        f"Content-Type: application/json\r\n{length}\r\n\r\n"
    )
    async with AsyncExitStack() as stack:
        for _ in range(count):
            _, writer = await asyncio.open_connection(host, port)
            stack.callback(writer.close)
            writer.write(head.encode() + begun)
            await writer.drain()
        yield


async def throw(client, path, **headers):
    data = json.dumps(BODIES[path]).encode()
    return await client.request("POST", path, data=data, headers={"Content-Type": "application/json", **headers})


MANY_MEMBERS = json.dumps({"name": "nobody", "payload": {str(number): {} for number in range(80_000)}}).encode()
ROOM = 256
"""MiB in which a process does its work, as the runbook says."""


async def test_many_small_values_take_no_more_memory_and_callers_who_leave_keep_none(product):
    async with product.sibling("gateway", BODY_TIMEOUT_SECONDS="60") as gateway:
        host, port = urlsplit(gateway.url).hostname, urlsplit(gateway.url).port
        head = (
            f"POST /v1/signals HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(MANY_MEMBERS)}\r\n\r\n"
        )

        async def throw_and_leave():
            """Do not read the answer, which has seven times as many bytes."""
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(head.encode() + MANY_MEMBERS)
            status = await reader.readline()
            writer.transport.abort()
            return int(status.split()[1])

        statuses = await asyncio.gather(*(throw_and_leave() for _ in range(20)))
        assert set(statuses) <= {202, 503}
        assert gateway.peak < ROOM


async def test_a_large_throw_without_room_is_refused_for_now_and_small_ones_pass(product):
    """So many slow ones hold the room, or wait for it, that there is no use in waiting behind them."""
    async with product.sibling("gateway", BODY_TIMEOUT_SECONDS="60") as gateway, client_of(gateway.url) as client:
        async with sending_slowly(gateway.url, FIT + MOST_WAITING):
            for path in BODIES:

                async def is_refused(path=path):
                    status, headers, _ = await throw(client, path)
                    return status == 503 and int(headers["Retry-After"]) > 0

                await eventually(is_refused)
            await client.post("/v1/signals", {"name": "small", "payload": "x" * 1000})
        for path in BODIES:

            async def is_accepted(path=path):
                return (await throw(client, path))[0] in {200, 202, 204}

            await eventually(is_accepted)


async def test_many_large_throws_are_all_accepted_in_turn(product):
    """Also those in chunks, which do not say how large they are."""
    async with product.sibling("gateway", BODY_TIMEOUT_SECONDS="60") as gateway, client_of(gateway.url) as client:
        for data in (whole, in_chunks):
            answers = await asyncio.gather(
                *(client.request("POST", "/v1/signals", data=data(), headers=JSON) for _ in range(3 * FIT))
            )
            assert {status for status, _, _ in answers} == {202}


JSON = {"Content-Type": "application/json"}


def whole():
    return json.dumps(BODIES["/v1/signals"]).encode()


async def in_chunks():
    body = whole()
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]
        await asyncio.sleep(0)


async def test_slow_throws_in_chunks_have_as_much_room_as_they_have_sent(product):
    begun = b"5000\r\n" + b'"' + b"x" * (0x5000 - 1) + b"\r\n"
    async with (
        product.sibling("gateway", BODY_TIMEOUT_SECONDS="60") as gateway,
        client_of(gateway.url) as client,
        sending_slowly(gateway.url, 5 * FIT, length="Transfer-Encoding: chunked", begun=begun),
    ):
        for path in BODIES:
            assert (await throw(client, path))[0] in {200, 202, 204}


async def test_a_compressed_body_counts_as_what_it_holds(client):
    data = gzip.compress(json.dumps(BODIES["/v1/signals"]).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    for _ in range(2 * FIT):  # each gives its room back
        status, _, _ = await client.request("POST", "/v1/signals", data=data, headers=headers)
        assert status == 202


async def test_a_page_is_short_however_many_variables_its_signals_have(client, name):
    """24,000 variables take five times the bytes of their payload; a signal that is longer than a page is one."""
    dense = [{f"{at}": at for at in range(count)} for count in (12_000, 100, 12_000, 9_000, 40_000, 1)]
    for payload in dense:
        signal = await client.post("/v1/signals", {"name": name, "payload": payload})
        await recorded(client, signal["id"])

    pages, after = [], "0"
    while after is not None:
        async with client._session.get(  # noqa: SLF001  (the bytes of the answer)
            f"{client.url}/v1/signals?name={name}&afterId={after}", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
        ) as response:
            body = await response.read()
        page = json.loads(body)
        pages.append([len(signal["variables"]) for signal in page["items"]])
        assert len(body) < (2 << 20) + 100 or len(page["items"]) == 1
        after = page["next"]

    assert list(chain(*pages)) == [len(payload) for payload in dense]
    assert len(pages) < len(dense)


async def test_dense_throws_are_read_as_others_in_every_dialect(client, name):
    variables = {f"v{at}": {"value": "x", "type": "String"} for at in range(2000)}
    plain = dict.fromkeys(variables, "x")
    await client.post("/v1/signals", {"name": name, "variables": variables})
    await client.post("/v1/signals/batch", {"signals": [{"name": name, "payload": plain}, {"name": ""}]}, expect=200)
    await client.post("/engine-rest/signal", {"name": name, "variables": variables}, expect=204)
    await client.post("/v2/signals/broadcast", {"signalName": name, "variables": plain}, expect=200)
    wrong = {**variables, "v7": {"value": "x", "type": "Integer"}}
    _, _, problem = await client.request("POST", "/v1/signals", json={"name": name, "variables": wrong})
    _, _, error = await client.request("POST", "/engine-rest/signal", json={"name": name, "variables": wrong})

    assert [error["pointer"] for error in problem["errors"]] == ["/variables/v7"]
    assert error["type"] == "InvalidRequestException"
    for signal_id in await recorded_ids(client, name, 4):
        signal = await recorded(client, signal_id)
        assert signal["payload"] == plain
        assert signal["variables"] == {member: {**one, "valueInfo": {}} for member, one in variables.items()}


async def test_a_page_of_large_signals_ends_early_and_the_next_ones_have_the_rest(client, name):
    thrown = [(await client.post("/v1/signals", {"name": name, "payload": "x" * 600_000}))["id"] for _ in range(9)]

    for signal_id in thrown:
        await recorded(client, signal_id)
    pages, after = [], "0"
    while after is not None:
        page = await client.get(f"/v1/signals?name={name}&afterId={after}")
        pages.append([signal["id"] for signal in page["items"]])
        after = page["next"]
    assert sorted(signal_id for page in pages for signal_id in page) == thrown
    assert list(map(len, pages)) == [3, 3, 3]
