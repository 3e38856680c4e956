"""Handlers of the Python client: deliveries are leased over HTTP, and functions called in the caller's own process."""

from __future__ import annotations

import asyncio
import os
import signal as signals
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from pydantic import BaseModel
from signal_broker_client import AsyncClient, GiveUp, Handlers, ReceivedSignal, Refused, TryLater, WrongHandler
from signal_broker_client.calls import Function
from signal_broker_client.pulling import Puller
from signal_broker_client.registering import register

from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.python_client import IMPORTABLE, SNIPPETS, install, run
from tests.support.receiver import Answer
from tests.support.throwing import delivery, throw, token

pytestmark = pytest.mark.slow

PROGRAM = """
import sys, time
from pathlib import Path
from signal_broker_client import Handlers

handlers = Handlers("shop")

@handlers.on(sys.argv[3], timeout=1)
def book(payload):
    Path(sys.argv[4]).touch()
    time.sleep(payload)

handlers.run(sys.argv[1], sys.argv[2], worker="first")
"""

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Paid(BaseModel):
    order: int


@asynccontextmanager
async def serving(handlers, product, *, token=ADMIN_TOKEN, **options):
    """Run *handlers* until the block is left."""
    stopping = asyncio.Event()
    async with AsyncClient(product.url, token) as broker:
        task = asyncio.create_task(handlers.serve(broker, stopping, **options))
        try:
            yield
        finally:
            stopping.set()
            await task


async def of_app(client, name):
    """Return the subscriptions of handlers to *name*."""
    return (await client.get(f"/v1/subscriptions?name={name}"))["items"]


async def subscribed(client, name, number=1):
    """Return the only handler's subscription, or some, once they are there."""

    async def get():
        found = await of_app(client, name)
        return found if len(found) == number else None

    found = await eventually(get)
    return found[0] if number == 1 else found


async def of_description(client, name, description):
    found = [one for one in await of_app(client, name) if one["description"] == description]
    return found[0] if found else None


async def attempts(client, signal, subscription):
    return (await client.get(f"/v1/deliveries/{signal['id']}-{subscription['id']}"))["attempts"]


@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_handler_gets_the_typed_payload_and_the_signal(product, client, name):
    handlers, got = Handlers("shop"), []

    @handlers.on(name, tenant_id="acme", filter={"order": {"operator": "NUM_GT", "value": "5"}}, retry=[1, 5])
    async def book(payload: Paid, signal: ReceivedSignal) -> None:
        got.append((payload, signal))

    async with serving(handlers, product, worker="w-1"):
        subscription = await subscribed(client, name)
        await throw(client, name, payload={"order": 5}, tenantId="acme")
        wanted = {"name": name, "payload": {"order": 7}, "tenantId": "acme", "businessKey": "b"}
        signal = await client.post("/v1/signals", wanted, expect=202, traceparent=TRACE, tracestate="a=b")
        await delivery(client, signal, subscription, "delivered")
    ((payload, received),) = got
    assert payload == Paid(order=7)
    assert (received.id, received.tenant_id, received.business_key, received.attempt) == (signal["id"], "acme", "b", 1)
    assert received.delivery_id == f"{signal['id']}-{subscription['id']}"
    assert received.variables["order"]["type"] == "Integer"
    assert (received.traceparent, received.tracestate) == (TRACE, "a=b")
    assert received.headers == {
        "traceparent": TRACE,
        "tracestate": "a=b",
        "Signal-Broker-Hops": "1",
        "baggage": "signal-broker-hops=1",
    }
    assert (subscription["target"], subscription["description"]) == ({"kind": "pull"}, "shop/book")
    assert subscription["retry"]["schedule"] == [1, 5]
    (attempt,) = await attempts(client, signal, subscription)
    assert (attempt["outcome"], attempt["worker"]) == ("succeeded", "w-1")


async def test_what_a_handler_raises_is_what_becomes_of_the_delivery(product, client, name):
    handlers = Handlers("shop")

    @handlers.on(name, retry=[600])
    def book(payload: str) -> None:
        raise {"give up": GiveUp("no"), "later": TryLater(timedelta(hours=1), "closed")}.get(payload, ValueError("bad"))

    ends = [("give up", "dead", "given_up", "no"), ("later", "parked", "throttled", "closed")]
    ends += [("else", "parked", "refused", "ValueError: bad"), (5, "parked", "refused", "the payload is invalid")]
    due = {}
    async with serving(handlers, product):
        subscription = await subscribed(client, name)
        for payload, state, outcome, error in ends:
            signal = await throw(client, name, payload=payload)
            ended = await delivery(client, signal, subscription, state)
            (attempt,) = await attempts(client, signal, subscription)
            assert attempt["outcome"] == outcome
            assert attempt["error"].startswith(error)
            due[payload] = ended["dueAt"]
    assert datetime.fromisoformat(due["later"]) - datetime.fromisoformat(due["else"]) > timedelta(minutes=40)


async def test_the_next_start_finds_the_subscription_and_gives_it_the_options_of_the_code(product, client, name):
    first, second = Handlers("shop"), Handlers("shop")
    first.on(name, name="book", concurrency=3, ordered=True, head_of_line="skip")(lambda _payload: None)
    second.on(name, name="book", ordered=True)(lambda _payload: None)
    async with serving(first, product):
        before = await subscribed(client, name)
    signal = await throw(client, name)
    async with serving(second, product):
        await delivery(client, signal, before, "delivered")
        (after,) = await of_app(client, name)
    assert before["id"] == after["id"]
    assert [(one["maxInFlight"], one["headOfLine"]) for one in (before, after)] == [(3, "skip"), (None, "block")]


async def test_processes_that_start_for_the_first_time_at_the_same_moment_make_one_subscription(product, client, name):
    fixed = {"name": name, "tenantId": None, "executionId": None, "once": False, "ordered": False}
    async with AsyncClient(product.url, ADMIN_TOKEN) as broker:
        options = {"maxInFlight": 3, "retry": None}
        made = await asyncio.gather(*(register(broker, "shop", "book", fixed, options) for _ in range(12)))
        another = await register(broker, "shop", "send", fixed, options)
    assert len(set(made)) == 1
    assert [one["id"] for one in await of_app(client, name)] == [made[0], another]


async def test_processes_of_one_app_share_one_subscription(product, client, name):
    got = []
    handlers = Handlers("shop")
    handlers.on(name, name="book")(got.append)
    async with serving(handlers, product), serving(handlers, product), serving(handlers, product):
        await eventually(lambda: subscribed(client, name))
        signals_ = [await throw(client, name, payload=number) for number in range(5)]
        (subscription,) = await of_app(client, name)
        for signal in signals_:
            await delivery(client, signal, subscription, "delivered")
    assert sorted(got) == [0, 1, 2, 3, 4]


async def test_no_more_calls_run_than_the_process_is_to_make(product, client, name):
    handlers, running, most = Handlers("shop"), set(), []

    @handlers.on(name)
    async def book(payload: int) -> None:
        running.add(payload)
        most.append(len(running))
        await asyncio.sleep(0)
        running.discard(payload)

    async with serving(handlers, product, concurrency=2):
        subscription = await subscribed(client, name)
        for signal in [await throw(client, name, payload=number) for number in range(12)]:
            await delivery(client, signal, subscription, "delivered")
    assert len(most) == 12
    assert max(most) <= 2


async def test_what_a_decorator_asks_wrongly_is_told_with_its_own_word(product, name):
    handlers = Handlers("shop")
    handlers.on(name, name="book", concurrency=0)(lambda _payload: None)
    async with AsyncClient(product.url, ADMIN_TOKEN) as broker:
        with pytest.raises(WrongHandler, match=r"^handler book: concurrency: "):
            await handlers.serve(broker, asyncio.Event())
    with pytest.raises(WrongHandler, match=r": timeout: 0 is not a number of seconds"):
        handlers.on(name, name="never", timeout=0)(lambda _payload: None)


async def test_a_token_that_may_not_lease_ends_the_run(product, client, name):
    handlers = Handlers("shop")
    handlers.on(name, name="book")(lambda _payload: None)
    weak = await token(client, "subscriptions:manage")
    async with AsyncClient(product.url, weak) as broker:
        with pytest.raises(Refused, match=r"^403: "):
            await handlers.serve(broker, asyncio.Event())


async def test_a_deleted_subscription_ends_its_handler_alone(product, client, name):
    handlers, got = Handlers("shop"), []
    handlers.on(name, name="gone", timeout=1)(lambda _payload: None)
    handlers.on(name, name="kept")(got.append)
    async with serving(handlers, product):
        gone, kept = sorted(await subscribed(client, name, 2), key=lambda one: one["description"])
        await client.request("DELETE", f"/v1/subscriptions/{gone['id']}")
        signal = await throw(client, name, payload=1)
        await delivery(client, signal, kept, "delivered")
    assert got == [1]


async def test_a_killed_process_loses_nothing_and_a_stopped_one_ends_its_calls(product, client, name, tmp_path):
    python, _ = await asyncio.to_thread(install, tmp_path)
    (tmp_path / "shop.py").write_text(PROGRAM)
    called = tmp_path / "called"
    command = [python, "shop.py", product.url, ADMIN_TOKEN, name, called]
    process = await asyncio.to_thread(subprocess.Popen, command, cwd=tmp_path)
    subscription = await subscribed(client, name)
    signal = await throw(client, name, payload=0.9)
    await eventually(called.exists)
    process.kill()
    process.wait()
    called.unlink()

    process = await asyncio.to_thread(subprocess.Popen, command, cwd=tmp_path)
    await eventually(called.exists)
    process.send_signal(signals.SIGTERM)
    assert await asyncio.to_thread(process.wait, 60) == 0
    await delivery(client, signal, subscription, "delivered")
    outcomes = [one["outcome"] for one in await attempts(client, signal, subscription)]
    assert outcomes == ["timed_out", "succeeded"]


async def test_the_readme_s_handler_is_tested_as_it_says(tmp_path):
    python, _ = await asyncio.to_thread(install, tmp_path, "pydantic")
    for name in ("billing.py", "test_billing.py"):
        (tmp_path / name).write_text(SNIPPETS[name])
    await asyncio.to_thread(
        run, python, "-c", "from test_billing import *; test_dollars_are_not_booked()", cwd=tmp_path
    )


async def test_the_readme_s_handler_books_and_says_what_failed(product, client, tmp_path):
    python, _ = await asyncio.to_thread(install, tmp_path, "pydantic")
    (tmp_path / "billing.py").write_text(SNIPPETS["billing.py"])
    environment = {"SIGNAL_BROKER_URL": product.url, "SIGNAL_BROKER_TOKEN": ADMIN_TOKEN}
    log = tmp_path / "log"
    with log.open("w") as out:
        process = await asyncio.to_thread(
            subprocess.Popen, [python, "billing.py"], cwd=tmp_path, env=environment, stdout=out, stderr=out
        )
    subscription = await eventually(lambda: of_description(client, "order.paid", "billing/book"))
    signal = await throw(client, "order.paid", payload={"order": 7, "cents": 1200})
    await delivery(client, signal, subscription, "delivered")
    wrong = await throw(client, "order.paid", payload={"cents": 1200})
    await delivery(client, wrong, subscription, "parked")
    process.send_signal(signals.SIGTERM)
    assert await asyncio.to_thread(process.wait, 60) == 0
    id_, prefix = subscription["id"], "signal_broker_client:billing/book"
    attempt = f"delivery {wrong['id']}-{id_} of order.paid, attempt 1"
    assert log.read_text().splitlines() == [
        f"INFO:{prefix} is subscribed to order.paid: subscription {id_}",
        f"booked: 7 {signal['id']}-{id_}",
        f"WARNING:{prefix}: {attempt}: refused: the payload is invalid: order: Field required",
    ]


async def test_a_call_that_takes_too_long_has_timed_out(product, client, name):
    handlers = Handlers("shop")

    @handlers.on(name, retry=[600], timeout=0.1)
    async def book(_payload) -> None:
        await asyncio.Event().wait()

    async with serving(handlers, product):
        subscription = await subscribed(client, name)
        signal = await throw(client, name)
        await delivery(client, signal, subscription, "parked")
    (attempt,) = await attempts(client, signal, subscription)
    assert (attempt["outcome"], attempt["error"]) == ("timed_out", "not done within 0.1 s")


async def test_a_start_waits_for_the_server_and_says_why(webhooks, monkeypatch, caplog):
    caplog.set_level("INFO", "signal_broker_client")
    monkeypatch.setattr("signal_broker_client.retries._WARNING_SECONDS", 0.01)
    handlers, stopping = Handlers("shop"), asyncio.Event()
    handlers.on("a.b", name="book")(lambda _payload: None)
    later, subscription = Answer(status=503, headers={"Retry-After": "3600"}), Answer(body=b'{"id": 7}')
    webhooks.answer("/v1/subscriptions", Answer(fate="close"), later, subscription)
    webhooks.answer("/v1/subscriptions/7", later, subscription)
    webhooks.answer("/v1/subscriptions/7/lease", Answer(status=404, body=b"{}"))
    async with AsyncClient(webhooks.url(""), ADMIN_TOKEN, patience=0.001) as broker:
        await handlers.serve(broker, stopping)
    said = [one for one in caplog.messages if "no answer" in one]
    host = webhooks.url("").removeprefix("http://")
    assert said[0].startswith(f"{host}/v1/subscriptions?ifAbsent=true: no answer, trying again: ")
    assert said[-1] == f"{host}/v1/subscriptions/7: no answer, trying again: the server answered 503"
    assert "shop/book is subscribed to a.b: subscription 7" in caplog.messages


async def test_a_process_that_waits_for_the_server_ends_when_it_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    (tmp_path / "shop.py").write_text(PROGRAM)
    log = tmp_path / "log"
    with log.open("w") as out:
        command = [sys.executable, "shop.py", url, "token", "a.b", tmp_path / "called"]
        process = await asyncio.to_thread(
            subprocess.Popen, command, cwd=tmp_path, env=os.environ | IMPORTABLE, stderr=out
        )
    await eventually(log.read_text)
    process.send_signal(signals.SIGTERM)
    assert await asyncio.to_thread(process.wait, 60) == 0
    (line,) = log.read_text().splitlines()
    assert "/v1/subscriptions?ifAbsent=true: no answer, trying again: ConnectError: " in line


@pytest.mark.parametrize("permission", [None, "deliveries:manage", "subscriptions:manage"])
async def test_a_process_that_is_refused_ends_with_one_line(product, client, name, tmp_path, permission):
    (tmp_path / "shop.py").write_text(PROGRAM)
    weak, told = ("unknown", "401: ") if permission is None else (await token(client, permission), "403: ")
    command = [sys.executable, "shop.py", product.url, weak, name, tmp_path / "called"]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, env=os.environ | IMPORTABLE, capture_output=True, text=True, timeout=100
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line.startswith(told)) == (1, True), line


def test_no_calls_at_all_are_refused_in_one_line():
    with pytest.raises(SystemExit, match="concurrency must be at least 1"):
        Handlers("shop").run("http://127.0.0.1:8080", "token", concurrency=0)


@pytest.mark.parametrize(
    ("url", "token", "told"),
    [
        ("127.0.0.1:8080", "token", "url must begin with http"),
        ("http://127.0.0.1:none", "token", "url is invalid: Invalid port"),
        ("https://", "token", "url has no host"),
        ("http://127.0.0.1:8080", "", "token must be 1 or more"),
    ],
    ids=["scheme", "port", "host", "token"],
)
def test_a_url_or_a_token_that_is_none_ends_the_process_with_one_line(url, token, told):
    with pytest.raises(SystemExit, match=told):
        Handlers("shop").run(url, token)
    with ThreadPoolExecutor() as threads, pytest.raises(ValueError, match=told):
        threads.submit(Handlers("shop").run, url, token).result()


async def test_a_server_that_does_not_answer_is_asked_again_after_a_while(webhooks, monkeypatch):
    monkeypatch.setattr("signal_broker_client.retries._WARNING_SECONDS", 0.01)
    later = Answer(status=503, headers={"Retry-After": "3600"})
    webhooks.answer("/v1/subscriptions/1/lease", later, later, Answer(status=404, body=b"{}"))
    options = {"timeout": timedelta(seconds=1), "concurrency": 1, "worker": "w", "name": "shop/book"}
    async with AsyncClient(webhooks.url(""), ADMIN_TOKEN) as broker:
        await Puller(broker, 1, Function(lambda _payload: None), **options).run(asyncio.Event(), drain=0)
    assert len(webhooks.requests) == 3


async def test_an_app_without_a_name_has_that_of_its_module_and_one_without_handlers_cannot_run(product, client, name):
    handlers = Handlers()
    async with AsyncClient(product.url, ADMIN_TOKEN) as broker:
        with pytest.raises(WrongHandler, match="there is no handler to run"):
            await handlers.serve(broker, asyncio.Event())
    handlers.on(name, name="book")(lambda _payload: None)
    async with serving(handlers, product):
        assert (await subscribed(client, name))["description"] == f"{__name__}/book"
