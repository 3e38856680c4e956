"""What the Python client makes of answers that no signal-broker gives, and of requests that cannot be sent."""

from __future__ import annotations

import asyncio
import inspect

import httpx
import pytest
from signal_broker_client import AsyncClient, Client, ClientError, Refused, Throw, Unavailable

DEEP = b"[" * 200_000
NO_BROKER = "is the URL that of a signal-broker"


@pytest.fixture(params=[Client, AsyncClient])
def answered(request):
    """Return what makes either client call a method, all answers being one response; *requests* get what it asks."""

    async def call(response, method, *arguments, patience=60, requests=None, **options):

        def answer(asked):
            if requests is not None:
                requests.append(asked)
            status, content, headers = response
            return httpx.Response(status, stream=httpx.ByteStream(content), headers=headers)

        is_async = request.param is AsyncClient
        http = (httpx.AsyncClient if is_async else httpx.Client)(transport=httpx.MockTransport(answer))
        client = request.param("http://a", "token", patience=patience, http=http)
        called = getattr(client, method)(*arguments, **options)
        if inspect.isasyncgen(called):
            return await anext(called)
        if inspect.isgenerator(called):
            return next(called)
        return await called if is_async else called

    return call


@pytest.mark.parametrize(
    ("problem", "told", "kept"),
    [
        (b'{"detail": 5, "errors": "x"}', "400: the answer does not say why", {}),
        (b'{"detail": null, "errors": [1, null, {"pointer": 5}]}', "400: the answer does not say why", {}),
        (
            b'{"title": "No", "errors": [1, {"pointer": "/name", "detail": "is empty"}]}',
            "400: /name: is empty",
            {"title": "No", "errors": [{"pointer": "/name", "detail": "is empty"}]},
        ),
        (b'["a"]', '400: ["a"]', {"title": '["a"]'}),
        (DEEP, "400: " + "[" * 200, {"title": "[" * 200}),
    ],
    ids=["texts", "items", "some", "list", "deep"],
)
async def test_of_a_malformed_problem_what_can_be_read_is_told(answered, problem, told, kept):
    with pytest.raises(Refused) as refused:
        await answered((400, problem, {}), "throw", "a")
    assert (str(refused.value), refused.value.problem) == (told, kept)


@pytest.mark.parametrize(
    "answer",
    [
        (202, b"abc", {"Content-Encoding": "gzip"}),
        (202, DEEP, {}),
        (202, b"1" * 10_000, {}),
        (202, b"[1]", {}),
        (202, b'{"id": "x", "results": {}}', {}),
        (202, b'"\xff"', {}),
        (204, b"", {}),
    ],
    ids=["gzip", "deep", "digits", "list", "types", "UTF-8", "204"],
)
@pytest.mark.parametrize(
    ("method", "arguments"),
    [("throw", ["a"]), ("throw_batch", [[Throw(name="a")]]), ("subscribe", ["a", {}]), ("explain", ["a"])],
    ids=["throw", "batch", "subscribe", "explain"],
)
async def test_an_answer_that_cannot_be_read_says_so(answered, answer, method, arguments):
    with pytest.raises(ClientError, match=NO_BROKER):
        await answered(answer, method, *arguments)


@pytest.mark.parametrize("status", [301, 302, 308])
async def test_a_redirect_is_refused_and_says_where_it_leads(answered, status):
    with pytest.raises(Refused, match=rf"^{status}: it redirects to /login, which is not followed"):
        await answered((status, b"", {"Location": "/login"}), "throw", "a")


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>", {"Content-Type": "text/html; charset=utf-8"}),
        (200, b"[1]", {"Content-Type": "application/json"}),
        (200, b"", {}),
        (204, b"", {}),
        (200, b"abc", {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}),
        (200, b"data: [\n\n", {"Content-Type": "text/event-stream"}),
        (200, b"data: \xff\n\n", {"Content-Type": "text/event-stream"}),
    ],
    ids=["html", "json", "empty", "204", "gzip", "no JSON", "UTF-8"],
)
async def test_a_tail_that_is_no_stream_of_signals_says_so(answered, answer):
    with pytest.raises(ClientError) as error:
        await asyncio.wait_for(answered(answer, "tail"), 10)
    assert not isinstance(error.value, Unavailable)


async def test_a_failure_of_the_server_is_repeated_under_the_same_key_until_patience_ends(answered):
    requests = []
    with pytest.raises(Unavailable, match=r"gave up after 0\.5 s: the server answered 500"):
        await answered((500, b"oops", {}), "throw", "a", patience=0.5, requests=requests)
    assert len(requests) > 1
    assert len({request.headers["Idempotency-Key"] for request in requests}) == 1
    with pytest.raises(Refused, match=r"^500: oops"):
        await answered((500, b"oops", {}), "subscribe", "a", {"kind": "pull"})


async def test_headers_of_latin_1_are_sent(answered):
    requests = []
    await answered((202, b'{"id": 7}', {}), "throw", "a", headers={"x": "é\t5"}, requests=requests)
    assert (b"x", b"\xe9\t5") in requests[0].headers.raw
