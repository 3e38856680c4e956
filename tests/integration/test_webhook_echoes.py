"""Receivers that send back what they were sent: no credential of it gets into the record."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import timedelta
from ipaddress import ip_network
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from broker.egress import Guard
from tests.support.raw_receiver import OK, raw_receiver
from workers.webhooks.client import WebhookClient

SECRET = "S3cr+t/V4lue=="
HEADERS = {
    "Authorization": f"Bearer {SECRET}",
    "X-DingTalk-Sign": SECRET[::-1],
    "X-To": f"//joe:{quote(SECRET, safe='')}@h",
}
URL = f"/hook?pin={quote(SECRET)}&x=1"


@pytest.fixture
async def client():
    async with WebhookClient(Guard([ip_network("127.0.0.0/8")]), concurrency=10) as client:
        yield client


def echoes(answer):
    """Return the script of a receiver that answers what *answer* makes of a request's head."""

    async def script(peer):
        head = await peer.head()
        await peer.send(answer(head))

    return script


async def post(client, script, *, times=1):
    async with raw_receiver(script) as target:
        for _ in range(times):
            result = await client.send(target.base + URL, body=b"", headers=HEADERS, timeout=timedelta(seconds=10))
    assert SECRET not in str(result)
    assert quote(SECRET) not in str(result)
    return result


FORMS = {
    "as it came": str,
    "in JSON": lambda head: json.dumps({"request": head}),
    "percent-encoded": quote,
    "in Base64": lambda head: b64encode(head.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_no_credential_is_in_the_excerpt(client, form):
    def answer(head):
        body = form(head).encode()
        return b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    shown = (await post(client, echoes(answer))).excerpt
    assert shown.count("***") >= 4
    for known in (form(SECRET[::-1]), form(f" Bearer {SECRET}")[2:-4], form(f"joe:{SECRET}")):
        assert known not in shown


async def test_no_credential_is_in_the_error_nor_in_the_headers(client):
    def answer(head):
        [line] = [line for line in head.split("\r\n") if line.startswith("Authorization")]
        fields = f"Location: /login/{SECRET[::-1]}?next={SECRET}\r\nRetry-After: {SECRET}\r\nContent-Length: 0"
        return f"HTTP/1.1 302 Bad {line}\r\n{fields}\r\n\r\n".encode()

    result = await post(client, echoes(answer))
    assert result.error == "HTTP 302 Bad Authorization: ***"
    assert (result.exchange.location, result.exchange.retry_after) == ("/login/***?next=***", "***")


async def test_no_credential_is_in_what_is_quoted_of_an_answer_that_is_no_http(client):
    """What is quoted ends within it."""
    result = await post(client, echoes(lambda _: f"{'-' * 52}{SECRET}\r\n".encode()))
    assert result.error == f"the answer is not HTTP: it begins with '{'-' * 52}***'"


async def test_no_credential_is_in_the_reason_for_a_second_request(client):
    async def script(peer):
        await peer.head()
        await peer.send(OK)
        if peer.number == 1:
            await peer.head()
            await peer.send(f"{SECRET}\r\n".encode())

    with capture_logs() as logs:
        result = await post(client, script, times=2)
    assert result.exchange.resent == "the answer is not HTTP: it begins with '***'"
    assert SECRET not in str(logs)
