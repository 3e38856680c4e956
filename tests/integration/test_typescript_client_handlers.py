"""Handlers of the TypeScript client: what they say, what the server is told, and how they start and end."""

from __future__ import annotations

import asyncio
import json
import signal as signals
import socket
import subprocess

import pytest

from tests.support import node
from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.receiver import Answer
from tests.support.throwing import delivery, recorded, throw

NOW = {"Retry-After": "0"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def start(program, log, url, token=ADMIN_TOKEN):
    """Start *program*, whose output goes to *log*."""
    environment = {"SIGNAL_BROKER_URL": url, "SIGNAL_BROKER_TOKEN": token}
    with log.open("w") as out:
        command = [node.NODE, program]
        return subprocess.Popen(command, cwd=program.parent, env=environment, stdout=out, stderr=subprocess.STDOUT)


@pytest.mark.slow
async def test_what_a_handler_throws_continues_the_trace_and_counts_the_hops(run_ts, product, client, name):
    subscription = await client.post("/v1/subscriptions", {"name": name, "target": {"kind": "pull"}})
    await client.post("/v1/signals", {"name": name}, expect=202, traceparent=TRACE, tracestate="a=b")
    await throw(client, name)
    statements = f"""
    const stop = new AbortController()
    let seen = 0
    const look = (_, received) => {{ console.log(JSON.stringify(received.headers)); if (++seen === 2) stop.abort() }}
    await sb.handle(broker, {subscription["id"]}, look, {{ concurrency: 1, signal: stop.signal }})
    """
    hops = {"Signal-Broker-Hops": "1", "baggage": "signal-broker-hops=1"}
    assert await run_ts(product.url, statements) == [{**hops, "traceparent": TRACE, "tracestate": "a=b"}, hops]


@pytest.mark.slow
async def test_calls_that_end_together_are_reported_together_each_with_its_own_outcome(run_ts, webhooks):
    payloads = ["fine", "late", "good", "never", "later", "slow", "bad", "bad too"]
    signal, trace = {"id": 1, "name": "a", "hops": 0}, {"traceparent": None, "tracestate": None}
    deliveries = [
        {"deliveryId": one, "leaseToken": one, "attempt": 1, "signal": signal | {"payload": one}, **trace}
        for one in payloads
    ]

    def taken(*tokens, **errors):
        results = [{"leaseToken": one, "error": errors.get(one)} for one in tokens]
        return Answer(body=json.dumps({"results": results}).encode())

    webhooks.answer(
        "/v1/subscriptions/1/lease",
        Answer(body=json.dumps({"deliveries": deliveries}).encode()),
        Answer(status=404, body=b"{}"),
    )
    webhooks.answer("/v1/leases/ack", taken("fine", "late", late="the lease ended"))
    webhooks.answer("/v1/leases/fail", taken(*payloads))
    statements = """
    const say = (value) => console.log(JSON.stringify(value))
    const errors = {
      never: new sb.GiveUp('no'), later: new sb.TryLater(60, 'closed'),
      bad: Error('😀'.repeat(1001)), 'bad too': 'why\\nnot',
    }
    const log = { warn: (told) => say(['warn', told]), error: (told, thrown) => say(['error', told, thrown.message]) }
    const book = (payload) => {
      if (payload === 'slow') return new Promise(() => undefined)
      if (payload in errors) throw errors[payload]
    }
    await sb.handle(broker, 1, book, { log, timeout: 1 }).catch((error) => say(error.status))
    """
    said = await run_ts(webhooks.url(""), statements)
    assert said.pop() == 404
    long = "\N{GRINNING FACE}"
    assert sorted(said) == [
        ["error", f"book: delivery bad of a, attempt 1: refused: Error: {long * 993}", long * 1001],
        ["error", "book: delivery bad too of a, attempt 1: refused: why not", None],
        ["warn", "book: delivery good of a, attempt 1: the result was not taken: the answer does not say"],
        ["warn", "book: delivery late of a, attempt 1: the result was not taken: the lease ended"],
        ["warn", "book: delivery later of a, attempt 1: throttled: closed"],
        ["warn", "book: delivery never of a, attempt 1: given_up: no"],
        ["warn", "book: delivery slow of a, attempt 1: timed_out: not done within 1 s"],
    ]
    reports = [json.loads(one.body) for one in webhooks.requests if one.path.startswith("/v1/leases/")]
    assert sorted(reports, key=lambda one: payloads.index(one["leaseTokens"][0])) == [
        {"leaseTokens": ["fine", "late", "good"]},
        {"leaseTokens": ["never"], "error": "no", "giveUp": True},
        {"leaseTokens": ["later"], "error": "closed", "retryAfterSeconds": 60},
        {"leaseTokens": ["slow"], "error": "not done within 1 s", "outcome": "timed_out"},
        {"leaseTokens": ["bad"], "error": "Error: " + long * 993},
        {"leaseTokens": ["bad too"], "error": "why not"},
    ]


@pytest.mark.slow
async def test_a_call_that_has_ended_is_reported_while_others_go_on(run_ts, product, client, name):
    subscription = await client.post("/v1/subscriptions", {"name": name, "target": {"kind": "pull"}})
    signals_ = [await throw(client, name, payload=payload) for payload in ("short", "long")]
    await recorded(client, signals_[1]["id"])
    short, long = [f"{signal['id']}-{subscription['id']}" for signal in signals_]
    statements = f"""
    const stop = new AbortController()
    const state = async (id) => (await broker.send({{ method: 'GET', path: `/v1/deliveries/${{id}}` }})).state
    const book = async (payload) => {{
      if (payload === 'short') return
      while ((await state('{short}')) !== 'delivered');
      stop.abort()
    }}
    await sb.handle(broker, {subscription["id"]}, book, {{ timeout: 60, signal: stop.signal }})
    console.log(JSON.stringify(await state('{long}')))
    """
    assert await run_ts(product.url, statements) == ["delivered"]


@pytest.mark.slow
async def test_a_call_that_takes_too_long_has_timed_out_and_is_told(run_ts, product, client, name):
    wanted = {"name": name, "target": {"kind": "pull"}, "retry": {"schedule": [600]}}
    subscription = await client.post("/v1/subscriptions", wanted)
    signal = await throw(client, name)
    statements = f"""
    const stop = new AbortController()
    const book = (_, {{ cancelled }}) => new Promise((resolve) => cancelled.addEventListener('abort', () => {{
      console.log(JSON.stringify(cancelled.reason.name))
      stop.abort()
      resolve()
    }}))
    await sb.handle(broker, {subscription["id"]}, book, {{ timeout: 0.1, signal: stop.signal }})
    """
    assert await run_ts(product.url, statements) == ["TimeoutError"]
    await delivery(client, signal, subscription, "parked")
    (attempt,) = (await client.get(f"/v1/deliveries/{signal['id']}-{subscription['id']}"))["attempts"]
    assert (attempt["outcome"], attempt["error"]) == ("timed_out", "not done within 0.1 s")
    host, number = attempt["worker"].split(":")
    assert (host, number.isdigit()) == (socket.gethostname(), True)


@pytest.mark.slow
async def test_a_handler_is_tried_out_with_what_the_signal_has(run_ts, webhooks):
    statements = """
    const say = (value) => console.log(JSON.stringify(value))
    const none = () => undefined
    const book = (payload, signal) => { throw new sb.TryLater(60, payload.when + signal.tenantId + signal.deliveryId) }
    say(await sb.tryOut(book, { when: new Date(0) }, { tenantId: 'acme', deliveryId: '34-7' }))
    say(await sb.tryOut(none, undefined))
    say(await sb.tryOut(() => new Promise(none), 1, { timeout: 0.01 }))
    say((await sb.tryOut(() => { throw Error('no stock') }, 1)).thrown.message)
    say((await sb.tryOut(() => { throw Object.create(null) }, 1)).error)
    say((await sb.tryOut(() => { throw Object.assign(Error('x'), { name: 'a\\0' }) }, 1)).error)
    say(await sb.handle(new sb.Client('http://a', 't'), 1, none, { concurrency: 0 }).catch((error) => `${error}`))
    """
    assert await run_ts(webhooks.url(""), statements) == [
        {"outcome": "throttled", "error": "1970-01-01T00:00:00.000Zacme34-7", "retryAfterSeconds": 60},
        {"outcome": "succeeded"},
        {"outcome": "timed_out", "error": "not done within 0.01 s"},
        "no stock",
        "something that is no text",
        "a : x",
        "RangeError: concurrency must be at least 1",
    ]


@pytest.mark.slow
async def test_a_handler_that_waits_for_the_server_says_why_and_ends_when_it_is_told(typescript_readme):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = f"127.0.0.1:{taken.getsockname()[1]}"
    log = typescript_readme / "log"
    process = await asyncio.to_thread(start, typescript_readme / "billing.js", log, f"http://{host}")
    await eventually(log.read_text)
    process.send_signal(signals.SIGTERM)
    assert await asyncio.to_thread(process.wait, 60) == 0
    (line,) = log.read_text().splitlines()
    assert line.startswith(f"{host}/v1/subscriptions?ifAbsent=true: no answer, trying again: TypeError: fetch failed: ")


@pytest.mark.slow
async def test_a_handler_that_is_refused_ends_with_one_line(typescript_readme, product):
    log = typescript_readme / "log"
    process = await asyncio.to_thread(start, typescript_readme / "billing.js", log, product.url, "unknown")
    assert await asyncio.to_thread(process.wait, 60) == 1
    (line,) = log.read_text().splitlines()
    assert line.startswith("401: ")


@pytest.mark.slow
async def test_waiting_for_a_delivery_is_no_part_of_the_timeout(run_ts, webhooks):
    leased = "/v1/subscriptions/7/lease"
    webhooks.answer(leased, Answer(after=1.5, body=b'{"deliveries": []}'), Answer(status=404, body=b"{}"))
    statements = """
    const say = (value) => console.log(JSON.stringify(value))
    await sb.handle(broker, 7, () => 0, { log: { info: say, warn: say } }).catch((error) => say(error.status))
    """
    assert await run_ts(webhooks.url(""), statements, timeout=0.5) == [404]


@pytest.mark.slow
async def test_a_key_that_the_server_would_refuse_is_no_throw(run_ts, product):
    statements = """
    const said = await broker.throw(name, 1, { idempotencyKey: 'é' }).catch((error) => error.message)
    console.log(JSON.stringify(said))
    """
    assert await run_ts(product.url, statements) == ["idempotencyKey must be 1 to 255 printable characters of ASCII"]


@pytest.mark.slow
async def test_a_start_outlasts_a_server_that_does_not_answer(run_ts, webhooks):
    later = Answer(status=503, headers=NOW)
    webhooks.answer("/v1/subscriptions", Answer(fate="close"), later, Answer(body=b'{"id": 7, "name": "a.b"}'))
    webhooks.answer("/v1/subscriptions/7/lease", later, Answer(status=404, body=b"{}"))
    statements = """
    const say = (value) => console.log(JSON.stringify(value))
    const log = { info: say, warn: (told) => say(told.split(': ')[1]) }
    await sb.handle(broker, { name, description: 'shop' }, () => 0, { log }).catch((error) => say(error.status))
    """
    told = "no answer, trying again"
    said = await run_ts(webhooks.url(""), statements, patience=0.001)
    assert said == [told, "shop is subscribed to a.b: subscription 7", told, 404]


@pytest.mark.slow
async def test_the_readme_s_handler_books_and_says_what_failed(typescript_readme, product, client):
    name, target = "order.paid", {"kind": "pull"}
    wanted = {"name": name, "description": "booking", "target": target, "retry": {"schedule": [600]}}
    subscription = await client.post("/v1/subscriptions", wanted)
    log = typescript_readme / "log"
    process = await asyncio.to_thread(start, typescript_readme / "billing.js", log, product.url)
    ends = [
        ({"order": 7}, "delivered", "succeeded", None),
        ({"currency": "USD"}, "dead", "given_up", "there are no books in USD"),
        ({"cents": 2_000_000}, "parked", "throttled", "large sums are booked by night"),
        (None, "parked", "refused", "TypeError: Cannot read properties of null (reading 'currency')"),
    ]
    thrown = [await throw(client, name, payload=payload) for payload, *_ in ends]
    for signal, (_, state, outcome, error) in zip(thrown, ends, strict=True):
        await delivery(client, signal, subscription, state)
        found = await client.get(f"/v1/deliveries/{signal['id']}-{subscription['id']}")
        assert [(one["outcome"], one["error"]) for one in found["attempts"]] == [(outcome, error)]
    process.send_signal(signals.SIGTERM)
    assert await asyncio.to_thread(process.wait, 60) == 0
    first, booked, *failed = log.read_text().splitlines()
    assert first == f"booking is subscribed to order.paid: subscription {subscription['id']}"
    assert booked == f"booked: 7 {thrown[0]['id']}-{subscription['id']}"
    for signal, (_, _, outcome, error) in zip(thrown[1:], ends[1:], strict=True):
        attempt = f"booking: delivery {signal['id']}-{subscription['id']} of order.paid, attempt 1"
        assert f"{attempt}: {outcome}: {error}" in "\n".join(failed)
    assert any(line.lstrip().startswith("at ") for line in failed), "the stack of what it threw"


@pytest.mark.slow
async def test_a_server_that_fails_or_answers_nonsense_is_waited_for(run_ts, webhooks):
    signal = {"id": 1, "name": "a", "hops": 0, "payload": "called"}
    good = {"deliveryId": "1-1", "leaseToken": "t", "attempt": 1, "signal": signal}
    malformed = [5, None, {"x": 1}, good | {"signal": {"hops": None}}]
    webhooks.answer(
        "/v1/subscriptions/1/lease",
        *[Answer(status=500), Answer(status=404, body=b"<html>"), Answer(body=b"<html>"), Answer(body=b"[1]")],
        Answer(body=json.dumps({"deliveries": [*malformed, good]}).encode()),
        Answer(status=404, body=b"{}"),
    )
    webhooks.answer("/v1/leases/ack", Answer(body=b'{"results": [{"leaseToken": "t", "error": null}]}'))
    statements = """
    const say = (told) => console.log(JSON.stringify(told))
    const log = { info: say, warn: say, error: say }
    await sb.handle(broker, 1, say, { log }).catch((error) => say(error.name))
    """
    warning, *said = await run_ts(webhooks.url(""), statements)
    assert warning.endswith("no answer, trying again: the server answered 500")
    assert "/v1/subscriptions/1/lease: malformed deliveries: 4" in said
    assert {"called", "Refused"} <= set(said)


@pytest.mark.slow
@pytest.mark.parametrize("body", [b'{"deliveries": []}', b'{"deliveries": [{"x": 1}]}'], ids=["none", "malformed"])
async def test_leases_that_bring_nothing_at_once_are_asked_for_after_growing_pauses(run_ts, webhooks, body):
    webhooks.answer("/v1/subscriptions/1/lease", Answer(body=body))
    statements = """
    const log = { info() {}, warn() {}, error() {} }
    await sb.handle(broker, 1, () => 1, { log, signal: AbortSignal.timeout(2500) })
    """
    await run_ts(webhooks.url(""), statements)
    assert 2 <= len(webhooks.requests) <= 5
