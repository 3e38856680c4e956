"""How the Python client reports what its handlers did: many results in one request, and none is lost at the end."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from signal_broker_client import AsyncClient, GiveUp, TryLater
from signal_broker_client.calls import Function, Outcome, Result
from signal_broker_client.pulling import Puller
from signal_broker_client.reporting import Attempt, Reports

from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.receiver import Answer

ACK, FAIL, LEASE = "/v1/leases/ack", "/v1/leases/fail", "/v1/subscriptions/1/lease"
SIGNAL = {
    "id": 1,
    "name": "a",
    "scope": "broadcast",
    "tenantId": None,
    "executionId": None,
    "createdAt": "2026-11-28T10:00:00.000Z",
    "hops": 0,
    "variables": {},
}
GONE = Answer(status=404, body=b"{}")


def leased(*payloads):
    """Return the answer that leases a delivery of each payload; the payload is its token as well."""
    trace = {"traceparent": None, "tracestate": None}
    deliveries = [
        {"deliveryId": one, "leaseToken": one, "attempt": 1, "signal": SIGNAL | {"payload": one}, **trace}
        for one in payloads
    ]
    return Answer(body=json.dumps({"deliveries": deliveries}).encode())


def taken(**errors):
    """Return the answer that says of each token what was wrong with it."""
    return Answer(body=json.dumps({"results": [{"leaseToken": key, "error": errors[key]} for key in errors]}).encode())


def reported(webhooks, path):
    return [json.loads(request.body) for request in webhooks.requests if request.path == path]


async def pull(webhooks, function, *, stopping=None, drain=60, **options):
    """Call *function* until leases are refused, or *stopping* is set."""
    options = {"timeout": timedelta(minutes=1), "concurrency": 10, "worker": "w", "name": "shop/book"} | options
    async with AsyncClient(webhooks.url(""), ADMIN_TOKEN, patience=1) as broker:
        await Puller(broker, 1, Function(function), **options).run(stopping or asyncio.Event(), drain=drain)


@pytest.fixture
def no_hurry(monkeypatch):
    """Let results wait for others for ever."""
    monkeypatch.setattr("signal_broker_client.reporting._GATHER_SECONDS", 3600)


@pytest.mark.slow
@pytest.mark.usefixtures("no_hurry")
async def test_calls_that_end_together_are_reported_together_each_with_its_own_outcome(webhooks, caplog):
    webhooks.answer(LEASE, leased("fine", "late", "good", "never", "later", "slow", "bad", "bad too"), GONE)
    webhooks.answer(ACK, taken(fine=None, late="the lease ended", good=None))
    webhooks.answer(FAIL, taken(**dict.fromkeys(["never", "later", "slow", "bad", "bad too"])))

    async def book(payload):
        if payload == "slow":
            await asyncio.Event().wait()
        raised = {"never": GiveUp("no"), "later": TryLater(timedelta(hours=1), "closed")}
        if payload.startswith("bad"):
            raise ValueError("bad")
        if payload in raised:
            raise raised[payload]

    await pull(webhooks, book, timeout=timedelta(seconds=1))
    assert reported(webhooks, ACK) == [{"leaseTokens": ["fine", "late", "good"]}]
    by_token = {tuple(one.pop("leaseTokens")): one for one in reported(webhooks, FAIL)}
    assert by_token == {
        ("never",): {"error": "no", "giveUp": True},
        ("later",): {"error": "closed", "retryAfterSeconds": 3600},
        ("slow",): {"error": "not done within 1 s", "outcome": "timed_out"},
        ("bad", "bad too"): {"error": "ValueError: bad"},
    }
    said = [(one.levelname, one.getMessage()) for one in caplog.records]
    assert sorted(one for one in said if "shop/book: delivery" in one[1] and "the result" not in one[1]) == [
        ("ERROR", "shop/book: delivery bad of a, attempt 1: refused: ValueError: bad"),
        ("ERROR", "shop/book: delivery bad too of a, attempt 1: refused: ValueError: bad"),
        ("WARNING", "shop/book: delivery later of a, attempt 1: throttled: closed"),
        ("WARNING", "shop/book: delivery never of a, attempt 1: given_up: no"),
        ("WARNING", "shop/book: delivery slow of a, attempt 1: timed_out: not done within 1 s"),
    ]
    assert "Traceback" in caplog.text
    refusals = [one for one in caplog.messages if "was not taken" in one]
    assert refusals == ["shop/book: delivery late of a, attempt 1: the result was not taken: the lease ended"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_hurry")
async def test_a_call_that_is_alone_is_reported_at_once(webhooks):
    webhooks.answer(LEASE, leased("first"), leased("second"), GONE)
    webhooks.answer(ACK, taken(first=None, second=None))
    await pull(webhooks, lambda _payload: None, concurrency=1)
    assert reported(webhooks, ACK) == [{"leaseTokens": ["first"]}, {"leaseTokens": ["second"]}]


async def test_a_call_that_has_ended_is_reported_while_others_go_on(webhooks):
    webhooks.answer(LEASE, leased("short", "long"), GONE)
    ended = asyncio.Event()

    async def book(payload):
        if payload == "long":
            await ended.wait()

    pulling = asyncio.create_task(pull(webhooks, book))
    await eventually(lambda: reported(webhooks, ACK) == [{"leaseTokens": ["short"]}])
    ended.set()
    await pulling
    assert reported(webhooks, ACK)[1:] == [{"leaseTokens": ["long"]}]


@pytest.mark.usefixtures("no_hurry")
async def test_at_most_a_hundred_results_wait(webhooks):
    async with AsyncClient(webhooks.url(""), ADMIN_TOKEN) as broker:
        reports = Reports(broker)
        for _ in range(102):
            reports.expect()
        attempts = [Attempt("shop/book: delivery 1-1 of a, attempt 1", str(number)) for number in range(101)]
        tasks = [asyncio.create_task(reports.report(one, Result(outcome=Outcome.SUCCEEDED))) for one in attempts]
        await eventually(lambda: reported(webhooks, ACK))
        assert [len(one["leaseTokens"]) for one in reported(webhooks, ACK)] == [100]
        await reports.end(60)
        await asyncio.gather(*tasks)
    assert [len(one["leaseTokens"]) for one in reported(webhooks, ACK)] == [100, 1]


@pytest.mark.usefixtures("no_hurry")
async def test_a_process_that_is_told_to_end_reports_what_is_done_and_cancels_the_rest(webhooks, caplog):
    webhooks.answer(LEASE, leased("done", "stuck"), Answer(fate="hang"))
    webhooks.answer(ACK, taken(done=None))
    stopping, done = asyncio.Event(), asyncio.Event()

    async def book(payload):
        if payload == "stuck":
            await asyncio.Event().wait()
        done.set()

    pulling = asyncio.create_task(pull(webhooks, book, stopping=stopping, drain=0.01))
    await done.wait()
    stopping.set()
    await pulling
    assert reported(webhooks, ACK) == [{"leaseTokens": ["done"]}]
    assert "shop/book: 1 calls were cancelled; they are repeated when their leases end" in caplog.messages
    assert not [one for one in caplog.messages if "not taken" in one]


async def test_a_server_that_does_not_take_the_last_results_holds_up_no_end(webhooks, monkeypatch, caplog):
    monkeypatch.setattr("signal_broker_client.pulling._LAST_SECONDS", 0.01)
    webhooks.answer(LEASE, leased("first", "second"), Answer(fate="hang"))
    webhooks.answer(ACK, Answer(fate="hang"))
    stopping = asyncio.Event()
    pulling = asyncio.create_task(pull(webhooks, lambda _payload: None, stopping=stopping, drain=0.01))
    await eventually(lambda: reported(webhooks, ACK))
    stopping.set()
    await pulling
    assert "2 results were not taken in time; the calls are repeated" in caplog.messages


@pytest.mark.parametrize("answer", [Answer(status=403), Answer(body=b"[]"), Answer(body=b'{"results": []}')])
async def test_what_the_server_does_not_take_is_logged_for_each_and_the_others_go_on(webhooks, caplog, answer):
    webhooks.answer(LEASE, leased("first", "second"), leased("third"), GONE)
    webhooks.answer(ACK, answer)
    await pull(webhooks, lambda _payload: None, concurrency=2)
    told = sorted(one.partition(": the")[0] for one in caplog.messages if "was not taken" in one)
    assert told == [f"shop/book: delivery {one} of a, attempt 1" for one in ("first", "second", "third")]


def answers(*texts):
    return [Answer(status=int(one[:3]), body=one[3:].encode()) for one in texts]


@pytest.fixture
def impatient(monkeypatch):
    """Let pauses be short."""
    monkeypatch.setattr("signal_broker_client.pulling._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("signal_broker_client.retries._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("signal_broker_client.retries._WARNING_SECONDS", 0.001)


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_fails_or_answers_nonsense_is_waited_for(webhooks, caplog):
    nonsense = answers(
        "404<html>", "410", "500oops", "501", "302", "200<html>", "200[1]", "200{}", '200{"deliveries": 5}', "204"
    )
    no_gzip = Answer(body=b"abc", headers={"Content-Encoding": "gzip"})
    webhooks.answer(LEASE, *nonsense, no_gzip, leased("first"), GONE)
    called = []
    await pull(webhooks, called.append)
    assert called == ["first"]
    assert any("no answer, trying again: the server answered 500" in one for one in caplog.messages)
    assert any("no answer, trying again: the answer is not JSON" in one for one in caplog.messages)


@pytest.mark.usefixtures("impatient")
async def test_a_delivery_that_is_malformed_is_told_and_the_others_are_called(webhooks, caplog):
    body = json.loads(leased("first", "second").body)
    for malformed in (5, None, {"x": 1}, body["deliveries"][1] | {"signal": SIGNAL | {"hops": None}}):
        body["deliveries"].insert(1, malformed)
    webhooks.answer(LEASE, Answer(body=json.dumps(body).encode()), *answers('200{"deliveries": [{"x": 1}]}'), GONE)
    called = []
    await asyncio.wait_for(pull(webhooks, called.append), 20)
    assert sorted(called) == ["first", "second"]
    assert len([one for one in caplog.messages if "a delivery is malformed" in one]) == 5


@pytest.mark.parametrize("body", ['{"deliveries": []}', '{"deliveries": [{"x": 1}]}'], ids=["none", "malformed"])
async def test_leases_that_bring_nothing_at_once_are_asked_for_after_growing_pauses(webhooks, monkeypatch, body):
    pauses = []

    async def wait(tasks, *, timeout=None, **options):
        if timeout is None:
            return await waiting(tasks, **options)
        pauses.append(timeout)
        return set(), tasks

    waiting = asyncio.wait
    monkeypatch.setattr("signal_broker_client.pulling.asyncio.wait", wait)
    webhooks.answer(LEASE, *answers(*[f"200{body}"] * 6), GONE)
    await pull(webhooks, lambda _payload: None)
    assert len(pauses) == 6
    assert 0.25 <= pauses[0] <= 0.5
    assert 5 <= pauses[-1] <= 10
