"""The Python client, built and installed by itself: its README, and what happens when connections and servers fail."""

from __future__ import annotations

import asyncio
import json
import sys

import httpx
import pytest
from signal_broker_client import AsyncClient, Client, InvalidWebhook, Refused, Throw, Unavailable, verify

from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.proxy import Link
from tests.support.python_client import SNIPPETS, SOURCE, install, run
from tests.support.receiver import Answer
from tests.support.throwing import recorded, recorded_ids, throw, token

pytestmark = pytest.mark.slow

ACCEPTED = Answer(status=202, body=b'{"id": 7}')
NOW = {"Retry-After": "0"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the Python of an environment that has the client only."""
    python, packages = install(tmp_path_factory.mktemp("client"))
    assert packages < 10
    return python


@pytest.fixture(params=[Client, AsyncClient])
def open_client(request):
    """Return what opens either client and calls its methods by name."""

    class Opened:
        def __init__(self, url, token=ADMIN_TOKEN, **options):
            self._client = request.param(url, token, **options)

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            await self("close")

        async def __call__(self, method, *arguments, **options):
            if isinstance(self._client, AsyncClient):
                return await getattr(self._client, method)(*arguments, **options)
            return await asyncio.to_thread(getattr(self._client, method), *arguments, **options)

        async def some(self, number, method, *arguments, **options):
            """Return the first *number* of what *method* yields."""
            items = getattr(self._client, method)(*arguments, **options)
            if isinstance(self._client, AsyncClient):
                return [await anext(items) for _ in range(number)]
            return await asyncio.to_thread(lambda: [next(items) for _ in range(number)])

    return Opened


async def snippet(installed, product, tmp_path, name):
    (tmp_path / name).write_text(SNIPPETS[name])
    environment = {"SIGNAL_BROKER_URL": product.url, "SIGNAL_BROKER_TOKEN": ADMIN_TOKEN}
    return await asyncio.to_thread(run, installed, name, cwd=tmp_path, **environment)


async def test_the_readme_s_first_signal_is_thrown(installed, product, client, tmp_path):
    said = await snippet(installed, product, tmp_path, "first.py")
    signal = await recorded(client, int(said.removeprefix("thrown: ")))
    assert (signal["name"], signal["payload"]) == ("order.paid", {"order": 7})


async def test_the_rest_of_the_readme_does_what_it_says(installed, product, tmp_path):
    secret, statuses, because, refusal, payload = (await snippet(installed, product, tmp_path, "all.py")).splitlines()
    assert secret == "keep this: whsec_..."
    assert statuses == "[202, 400]"
    assert because == "name, scope and filter match"
    assert refusal.startswith("400: /name: ")
    assert payload == "{'order': 10}"


async def test_a_team_s_type_checker_is_content_with_the_readme(tmp_path):
    for name, text in SNIPPETS.items():
        (tmp_path / name).write_text(text)
    said = await asyncio.to_thread(
        run, sys.executable, "-m", "mypy", "--strict", *sorted(SNIPPETS), cwd=tmp_path, MYPYPATH=str(SOURCE / "src")
    )
    assert said.startswith("Success")


@pytest.mark.transports("embedded", "rabbitmq")
async def test_everything_of_a_throw_arrives(open_client, product, client, name):
    async with open_client(product.url) as broker:
        thrown = await broker(
            "throw", name, {"n": 1}, tenant_id="acme", business_key="b", ordering_key="o", idempotency_key=name
        )
        again = await broker(
            "throw", name, {"n": 1}, tenant_id="acme", business_key="b", ordering_key="o", idempotency_key=name
        )
        results = await broker("throw_batch", [Throw(name=name, payload=None), Throw(name=name)])
    signal = await recorded(client, thrown["id"])
    assert again["id"] == thrown["id"]
    told = [signal[member] for member in ("payload", "tenantId", "businessKey", "orderingKey")]
    assert told == [{"n": 1}, "acme", "b", "o"]
    assert [(await recorded(client, one["id"]))["payload"] for one in results] == [None, {}]


@pytest.mark.parametrize(
    "failure",
    [
        Answer(fate="close"),
        Answer(fate="cut", body=b'{"id"'),
        Answer(status=503, headers=NOW),
        Answer(status=429, headers=NOW),
        Answer(status=502),
    ],
    ids=["close", "cut", "503", "429", "502"],
)
async def test_a_throw_is_repeated_under_the_same_key(open_client, webhooks, failure):
    webhooks.answer("/v1/signals", failure, failure, ACCEPTED)
    async with open_client(webhooks.url("")) as broker:
        assert await broker("throw", "a") == {"id": 7}
        await broker("throw", "a")
    *same, other = [request.headers["Idempotency-Key"] for request in webhooks.requests]
    assert len(same) == 3
    assert len({*same, other}) == 2


async def test_a_link_that_loses_the_answer_does_not_make_a_second_signal(open_client, product, client, name):
    async with Link(product.url) as link:
        link.stall(requests=False)
        async with open_client(link.url) as broker:
            throwing = asyncio.create_task(broker("throw", name))
            (first,) = await recorded_ids(client, name, 1)
            link.reset()
            link.restore()
            assert (await throwing)["id"] == first
    assert [one["id"] for one in (await client.get(f"/v1/signals?name={name}"))["items"]] == [first]


async def test_patience_ends(open_client, webhooks):
    webhooks.answer("/v1/signals", Answer(status=503, headers={"Retry-After": "3600"}))
    async with open_client(webhooks.url(""), patience=5) as broker:
        with pytest.raises(Unavailable, match="gave up after 5 s: the server answered 503"):
            await broker("throw", "a")
    webhooks.answer("/v1/signals", Answer(fate="hang"))
    async with open_client(webhooks.url(""), patience=0.5, timeout=0.2) as broker:
        with pytest.raises(Unavailable, match=r"gave up after 0\.5 s: ReadTimeout"):
            await broker("throw", "a")
    webhooks.answer("/v1/signals", Answer(body=bytes(100), pace=0.1))
    async with open_client(webhooks.url(""), patience=0.35, timeout=0.3) as broker:
        with pytest.raises(Unavailable, match="the answer took too long"):
            await broker("throw", "a")


@pytest.mark.parametrize("failure", [Answer(fate="close"), Answer(status=503, headers=NOW)], ids=["close", "503"])
async def test_a_subscription_that_may_exist_is_not_made_again(open_client, webhooks, failure):
    webhooks.answer("/v1/subscriptions", failure)
    async with open_client(webhooks.url("")) as broker:
        with pytest.raises((Unavailable, Refused)):
            await broker("subscribe", "a", {"kind": "webhook", "url": "https://a.example"})
    assert len(webhooks.requests) == 1


async def test_a_subscription_that_is_made_only_if_it_is_absent_is_asked_for_again(open_client, webhooks):
    webhooks.answer("/v1/subscriptions", Answer(fate="close"), Answer(body=b'{"id": 7}'))
    async with open_client(webhooks.url("")) as broker:
        assert await broker("subscribe", "a", {"kind": "pull"}, if_absent=True) == {"id": 7}
    assert [request.target for request in webhooks.requests] == ["/v1/subscriptions?ifAbsent=true"] * 2


async def test_a_refusal_names_the_field_and_is_not_repeated(open_client, product, client):
    weak = await token(client, "signals:throw", names=["order.#"])
    async with open_client(product.url, weak) as broker:
        with pytest.raises(Refused, match=r"^400: /variables: ") as refused:
            await broker("throw", "order.paid", variables={}, payload=1)
        assert refused.value.status == 400
        with pytest.raises(Refused, match=r"^403: "):
            await broker("throw", "invoice.paid")
    async with open_client(product.url) as broker:
        with pytest.raises(Refused, match=r"^400: "):
            await broker("throw", "half a pair: \ud800")
        with pytest.raises(Refused, match=r"^400: "):
            await broker.some(1, "tail", "half a pair: \ud800")
    async with open_client(product.url, "sb_wrong") as broker:
        with pytest.raises(Refused, match=r"^401: "):
            await broker.some(1, "tail")


async def test_an_answer_that_is_no_signal_broker_s_is_an_error(open_client, webhooks):
    webhooks.answer("/v1/signals", Answer(status=404, body=b"<html>"))
    async with open_client(webhooks.url("")) as broker:
        with pytest.raises(Refused, match=r"^404: <html>"):
            await broker("throw", "a")
    webhooks.answer("/v1/signals", Answer(body=b"<html>"))
    async with open_client(webhooks.url("")) as broker:
        with pytest.raises(Exception, match="is the URL that of a signal-broker"):
            await broker("throw", "a")


async def test_a_tail_goes_on_after_the_last_signal_when_its_connection_breaks(open_client, product, client, name):
    before = await throw(client, name)
    await recorded(client, before["id"])
    ids = {(await throw(client, name))["id"] for _ in range(3)}
    async with Link(product.url) as link, open_client(link.url) as broker:
        got = asyncio.create_task(broker.some(5, "tail", name, after_id=before["id"]))
        await eventually(lambda: link.connections)
        link.reset()
        ids |= {(await throw(client, name))["id"] for _ in range(2)}
        assert {signal["id"] for signal in await got} <= ids


async def test_a_tail_asks_for_what_comes_after_the_last_event_and_gives_up_in_time(open_client, webhooks):
    events = b': here\n\nid: 5\ndata: {"id":5}\n\nevent: lagged\ndata: {}\n\n'
    stream = Answer(body=events, headers={"Content-Type": "text/event-stream"})
    webhooks.answer("/v1/signals/tail", stream, stream, Answer(fate="close"))
    async with open_client(webhooks.url(""), patience=1) as broker:
        with pytest.raises(Unavailable, match="gave up after 1 s"):
            await broker.some(3, "tail", "a b/#", tenant_id="acme")
    first, second, third = webhooks.requests[:3]
    assert first.target == "/v1/signals/tail?name=a%20b%2F%23&tenantId=acme"
    assert [one.headers.get("Last-Event-ID") for one in (first, second, third)] == [None, "5", "5"]


async def test_a_webhook_of_the_product_is_verified(open_client, product, client, webhooks, name):
    async with open_client(product.url) as broker:
        subscription = await broker("subscribe", name, {"kind": "webhook", "url": webhooks.url()}, max_in_flight=3)
        signal = await broker("throw", name, {"ü": 1})
    assert subscription["maxInFlight"] == 3
    request = (await eventually(lambda: webhooks.requests))[0]
    webhook = verify(request.body, request.headers, ["whsec_AAAA", subscription["secret"]])
    assert (webhook["id"], webhook["payload"], webhook["attempt"]) == (signal["id"], {"ü": 1}, 1)
    with pytest.raises(InvalidWebhook, match="no signature"):
        verify(request.body + b" ", request.headers, subscription["secret"])
    assert json.loads(request.body)["deliveryId"] == webhook["deliveryId"]


async def test_an_http_client_of_one_s_own_stays_open(product, name):
    with httpx.Client() as http:
        with Client(product.url, ADMIN_TOKEN, http=http) as broker:
            broker.throw(name)
        assert not http.is_closed
