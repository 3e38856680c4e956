"""Requests that are wrong below their bodies: broken credentials, bodies that do not arrive, what is not HTTP."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.forms import ROUTES, is_camunda, is_native, is_unleash
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["/v1/signals", "/engine-rest/signal", "/api/signal-endpoint/x", "/api/admin/signal-endpoints"]
)
async def test_broken_credentials_are_a_401(product, path):
    request = b"POST %b HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    for credentials in CREDENTIALS:
        status, _ = await raw(product, request % (path.encode(), credentials))

        assert status == 401, credentials


FRAMINGS = [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"]


@pytest.mark.slow
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


HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\n"
JSON = b"Content-Type: application/json\r\n"
MALFORMED = {
    "a content type twice": (HEAD + JSON + JSON + b"\r\n", 400),
    "a length twice": (HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
    "a length that is no number": (HEAD + b"Content-Length: x\r\n\r\n", 400),
    "a length beside chunks": (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "an encoding of the transfer that is unknown": (HEAD + b"Transfer-Encoding: x\r\n\r\n", 415),
    "another one before the chunks": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 415),
    "another one after the chunks": (HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 415),
    "chunks in HTTP/1.0": (b"POST %b HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "credentials twice": (HEAD + b"Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n", 400),
    "an idempotency key twice": (HEAD + b"Idempotency-Key: a\r\nX: x\r\nIDEMPOTENCY-KEY: a\r\n\r\n", 400),
    "a trace twice": (HEAD + b"traceparent: a\r\ntraceparent: b\r\n\r\n", 400),
    "a host twice": (HEAD + b"Host: y\r\n\r\n", 400),
    "a host with markup": (b'POST %b HTTP/1.1\r\nHost: evil"><script>\r\n\r\n', 400),
    "a host with a blank": (b"POST %b HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a host with a user": (b"POST %b HTTP/1.1\r\nHost: me@x\r\n\r\n", 400),
    "a host with a path": (b"POST %b HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    "a host with an impossible port": (b"POST %b HTTP/1.1\r\nHost: x:65536\r\n\r\n", 400),
    "an empty host": (b"POST %b HTTP/1.1\r\nHost: \r\n\r\n", 400),
    "HTTP/0.9": (b"POST %b HTTP/0.9\r\nHost: x\r\n\r\n", 400),
    "HTTP/2.0": (b"POST %b HTTP/2.0\r\nHost: x\r\n\r\n", 400),
    "a folded header": (HEAD + b"X: a\r\n b\r\n\r\n", 400),
    "a blank before the colon": (HEAD + b"X : a\r\n\r\n", 400),
    "a control character": (HEAD + b"X: \0\r\n\r\n", 400),
    "no host": (b"POST %b HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400),
    "a long header": (HEAD + b"Cookie: " + b"secret" * 2000 + b"\r\n\r\n", 431),
    "a long name": (HEAD + b"x" * 9000 + b": x\r\n\r\n", 431),
    "many headers": (HEAD + b"X: x\r\n" * 200 + b"\r\n", 431),
    "a long path": (b"POST %b?" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a whole URL": (b"POST http://localhost:8080%b HTTP/1.1\r\nX : a\r\n\r\n", 400),
    "an expectation that is unknown": (HEAD + b"Expect: x\r\nContent-Length: 0\r\n\r\n", 417),
}
FORMS = {**ROUTES, "/v2/signals/broadcast": is_native, "/api//signal-endpoint/x": is_unleash, "/nothing": is_native}


@pytest.mark.parametrize(("path", "form"), FORMS.items())
async def test_what_the_parser_refuses_is_told_in_the_dialects_form(product, path, form):
    for case, (request, status) in MALFORMED.items():
        found, body = await raw(product, request.replace(b"%b", path.encode()))

        assert found == status, case
        assert form(status, json.loads(body)), case
        assert b"secret" not in body


async def test_a_head_that_comes_in_pieces_is_told_in_the_dialects_form(product):
    request = HEAD % b"/engine-rest/signal" + b"X: " + b"x" * 9000 + b"\r\n\r\n"
    pieces = [request[at : at + 1000] for at in range(0, len(request), 1000)]

    status, body = await raw(product, *pieces)

    assert (status, is_camunda(status, json.loads(body))) == (431, True)


async def test_a_second_request_on_a_connection_is_told_in_its_own_dialects_form(product):
    first = HEAD % b"/v1/nothing" + b"Content-Length: 12\r\n\r\n"
    second = HEAD % b"/engine-rest/signal" + JSON + JSON + b"\r\n"

    async with connected(product) as (reader, writer):
        writer.write(first + b'{"name":"s"}')
        assert (await answered(reader))[0] == 404
        writer.write(second)
        status, headers, body = await answered(reader)

        assert (status, headers["connection"], is_camunda(status, json.loads(body))) == (400, "close", True)
        assert await reader.read() == b""


@pytest.mark.parametrize(
    "request_", [b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
async def test_what_is_not_http_is_a_400(product, request_):
    status, body = await raw(product, request_)

    assert (status, is_native(status, json.loads(body))) == (400, True)


EXPECT = b"Expect: 100-Continue\r\nAuthorization: Bearer %b\r\n" + JSON


@pytest.mark.parametrize("path", FORMS)
async def test_no_body_is_invited_that_is_not_read(product, path):
    """Of a stranger, or too large, or to where nothing is; the connection is not used for more."""
    stranger = EXPECT % b"wrong" + b"Content-Length: 12\r\n\r\n"
    large = EXPECT % ADMIN_TOKEN.encode() + b"Content-Length: 5000000\r\n\r\n"
    missing = path == "/nothing"
    of_endpoint = "signal-endpoint/" in path

    for request, status in (
        (stranger, 404 if missing else 401),
        (large, 404 if missing else 401 if of_endpoint else 413),
    ):
        async with connected(product) as (reader, writer):
            writer.write(HEAD % path.encode() + request)
            found, headers, _ = await answered(reader)

            assert (found, headers["connection"]) == (status, "close")
            await ends(reader)


@pytest.mark.slow
@pytest.mark.parametrize("refused", [b"wrong", ADMIN_TOKEN.encode()], ids=["a stranger", "too large"])
async def test_a_caller_that_sends_its_body_all_the_same_gets_the_answer(product, refused):
    """It sends on until it has the answer: the connection must not be reset before."""
    request = HEAD % b"/v1/signals" + EXPECT % refused + b"Content-Length: 5000000\r\n\r\n"
    async with connected(product) as (reader, writer):
        writer.write(request)
        for _ in range(30):
            writer.write(b"x" * 100_000)
            await writer.drain()
        found, _, _ = await answered(reader)

        assert found == (401 if refused == b"wrong" else 413)
        await ends(reader)


async def ends(reader):
    """Wait until the server has ended the connection: with the answer, and not ten seconds later."""
    async with asyncio.timeout(5):
        assert await reader.read() == b""


async def test_options_of_the_whole_server_has_the_methods_of_all_paths(product):
    async with connected(product) as (reader, writer):
        writer.write(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = await answered(reader)

        assert (status, headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")


@pytest.mark.parametrize("length", [b"Content-Length: 15\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
async def test_a_body_that_is_read_is_invited_and_the_connection_goes_on(product, length):
    body = b'{"name":"s.t"}\n' if b"Length" in length else b'f\r\n{"name":"s.t"}\n\r\n0\r\n\r\n'
    async with connected(product) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD % b"/engine-rest/signal" + EXPECT % ADMIN_TOKEN.encode() + length)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await answered(reader))[0] == 204


async def test_a_body_that_comes_unasked_is_read(product):
    request = (
        HEAD % b"/engine-rest/signal" + EXPECT % ADMIN_TOKEN.encode() + b'Content-Length: 14\r\n\r\n{"name":"s.t"}'
    )

    assert (await raw(product, request))[0] == 204


async def test_an_old_caller_is_never_told_to_continue(product):
    head = b"POST /engine-rest/signal HTTP/1.0\r\n" + EXPECT % ADMIN_TOKEN.encode() + b"Content-Length: 14\r\n\r\n"
    async with connected(product) as (reader, writer):
        writer.write(head)
        writer.write(b'{"name":')
        writer.write(b'"s.t"}')

        assert (await answered(reader))[0] == 204


async def raw(product, *pieces):
    """Return (status, body) of the answer to a request, as far as it comes before the connection ends."""
    async with connected(product) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        status, _, body = await answered(reader)
        return status, body


@asynccontextmanager
async def connected(product):
    address = urlsplit(product.url)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def answered(reader):
    """Return (status, headers, body) of the next answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(first.split()[1]), headers, body
