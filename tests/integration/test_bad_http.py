"""Requests that are wrong below their bodies: broken credentials, bodies that do not arrive, what is not HTTP."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from tests.support.forms import ROUTES, is_unleash
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import endpoint

CREDENTIALS = [
    b"",
    b"Bearer",
    b"Bearer ",
    b"Basic",
    b"Basic !!!",
    b"Digest x",
    b"\xff\xfe",
    b"Bearer \xc3\xa4",
    b"x" * 7000,
]


@pytest.mark.parametrize(
    "path", ["/v1/signals", "/engine-rest/signal", "/api/signal-endpoint/x", "/api/admin/signal-endpoints"]
)
async def test_broken_credentials_are_a_401(product, path):
    request = b"POST %b HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    for credentials in CREDENTIALS:
        status, _ = await raw(product, request % (path.encode(), credentials))

        assert status == 401, credentials


FRAMINGS = [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"]


async def test_a_body_that_does_not_arrive_is_a_408(product, client):
    """The product under test gives a body one second."""
    made, value = await endpoint(client)
    call = f"/api/signal-endpoint/{made['name']}"
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Type: application/json\r\n"

    async def send_half(path, form, framing):
        credentials = value if path == call else ADMIN_TOKEN
        status, body = await raw(product, head % (path.encode(), credentials.encode()) + framing)
        assert status == 408
        assert form(status, json.loads(body))

    routes = {**ROUTES, call: is_unleash}
    await asyncio.gather(*(send_half(path, form, framing) for path, form in routes.items() for framing in FRAMINGS))


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /v1/signals HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/signals HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/signals HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"x" * 100_000),
    ],
)
async def test_what_is_not_http_is_a_400(product, request_):
    assert (await raw(product, request_))[0] == 400


async def raw(product, request):
    """Return (status, body) of the answer to *request*, as far as it comes before the connection ends."""
    address = urlsplit(product.url)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("Content-Length:")), 0)
            return int(head.split()[1]), await reader.readexactly(length)
        finally:
            writer.transport.abort()
