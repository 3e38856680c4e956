"""What every answer says of itself, errors of all layers included: no cache keeps it, no browser guesses its type."""

from __future__ import annotations

import pytest

from tests.integration.test_bad_http import FORMS, HEAD, answered, connected
from tests.support.product import ADMIN_TOKEN

AUTHORIZED = b"Authorization: Bearer %b\r\nContent-Type: application/json\r\n" % ADMIN_TOKEN.encode()
ANSWERS = {
    200: HEAD.replace(b"POST", b"GET") % b"/v1/tokens" + AUTHORIZED + b"\r\n",
    201: HEAD % b"/v1/tokens"
    + AUTHORIZED
    + b'Content-Length: 48\r\n\r\n{"name":"cached","permissions":["signals:read"]}',
    204: HEAD.replace(b"POST", b"OPTIONS") % b"/v1/tokens" + b"\r\n",
    400: HEAD % b"/v1/tokens" + b"Host: y\r\n\r\n",
    401: HEAD % b"/v1/tokens" + b"Content-Length: 0\r\n\r\n",
    404: HEAD % b"/nothing" + b"Content-Length: 0\r\n\r\n",
    405: HEAD % b"/livez" + b"Content-Length: 0\r\n\r\n",
    414: HEAD % (b"/" + b"x" * 9000) + b"\r\n",
    417: HEAD % b"/v1/tokens" + b"Expect: x\r\nContent-Length: 0\r\n\r\n",
}
PAGES = ["/docs", "/console", "/openapi.json", "/asyncapi.json", "/livez", "/metrics"]


@pytest.mark.slow
@pytest.mark.parametrize(("status", "request_"), ANSWERS.items())
async def test_no_answer_is_kept_nor_guessed_nor_tells_versions(product, status, request_):
    await check(product, status, request_)


@pytest.mark.parametrize("path", [*PAGES, *FORMS])
async def test_of_every_path(product, path):
    kept = "no-cache" if path == "/console" else "no-store"
    await check(product, None, HEAD.replace(b"POST", b"GET") % path.encode() + b"\r\n", kept=kept)


async def check(product, status, request, *, kept="no-store"):
    async with connected(product) as (reader, writer):
        writer.write(request)
        found, headers, _ = await answered(reader)

    assert status in {found, None}
    assert headers["server"] == "signal-broker"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == kept
