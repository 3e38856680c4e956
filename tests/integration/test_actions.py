"""Signals call APIs that know nothing of them: templates, methods and steps; and docs/actions.md does what it says."""

from __future__ import annotations

import asyncio
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from broker.topology import Queue, Topology
from tests.support.eventually import eventually
from tests.support.messaging import take
from tests.support.product import ADMIN_TOKEN
from tests.support.receiver import Answer
from tests.support.throwing import FAR, NOWHERE, delivery, fresh_id, throw
from tests.support.unleash import unleash

TEXT = (Path(__file__).parents[2] / "docs" / "actions.md").read_text()
BLOCKS = dict(re.findall(r"^```(?:sh|json) (\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
AT_ONCE = {"schedule": [0, 0, 0]}


async def subscribe(client, name, *targets, **spec):
    """Return a new subscription with one target, or with several as steps."""
    where = {"target": targets[0]} if len(targets) == 1 else {"steps": [{"target": target} for target in targets]}
    return await client.post("/v1/subscriptions", {"name": name, **where, **spec}, expect=201)


def webhook(url, **further):
    return {"kind": "webhook", "url": url, **further}


def outcomes(attempt):
    return [(step["step"], step["outcome"], step["status"]) for step in attempt["steps"]]


@pytest.fixture
def paste(product, name):
    async def paste(label, **shown):
        block = BLOCKS[label].replace("http://127.0.0.1:8080", product.url).replace('"alerts",', f'"{name}",')
        for old, new in shown.items():
            block = block.replace(f"http://{old}.example.com", new)
        environment = {**os.environ, "TOKEN": ADMIN_TOKEN}
        shell = await asyncio.create_subprocess_exec(
            "bash", "-e", "-c", block, env=environment, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await shell.communicate()
        assert shell.returncode == 0
        return json.loads(output)

    return paste


@pytest.mark.slow
async def test_a_url_arrives_as_it_was_written_and_its_values_percent_encoded(client, webhooks, name):
    url = webhooks.url("/safe;v=1/!$&'()*+,:=@/x;y/{{payload.v}}?q={{payload.v}}&a=b;c")
    subscription = await subscribe(client, name, webhook(url), retry=AT_ONCE)
    elsewhere = await subscribe(
        client, name, webhook(webhooks.url("/safe/{{payload.dots}}/del")), retry={"schedule": []}
    )
    signal = await throw(client, name, payload={"v": "x;role=admin!$&'()*,:=@", "dots": "..;"})
    await delivery(client, signal, subscription, "delivered")
    encoded = "x%3Brole%3Dadmin%21%24%26%27%28%29%2A%2C%3A%3D%40"
    assert [one.target for one in webhooks.requests] == [f"/safe;v=1/!$&'()*+,:=@/x;y/{encoded}?q={encoded}&a=b;c"]
    dead = await delivery(client, signal, elsewhere, "dead")
    assert dead["attempts"][0]["error"] == "a value makes the URL's path lead elsewhere"


@pytest.mark.slow
async def test_an_alert_switches_a_feature_off_and_then_tells_the_team(client, webhooks, paste):
    """Unleash is down at first: the team is told only once the feature is off."""
    async with unleash("new-checkout", "old-checkout") as features:
        features.down = True
        subscription = await paste("subscribe", unleash=features.base, chat=webhooks.base)
        signal = await paste("throw")
        [failed] = (await delivery(client, signal, subscription, "parked"))["attempts"]
        assert outcomes(failed) == [(1, "refused", 500)]
        assert webhooks.requests == []

        features.down = False
        done = await delivery(client, signal, subscription, "delivered")

    assert features.enabled == {("new-checkout", "production"): False, ("old-checkout", "production"): True}
    [message] = webhooks.requests
    assert json.loads(message.body) == json.loads(BLOCKS["message"])
    assert message.headers["content-type"] == "application/json"
    assert outcomes(done["attempts"][-1]) == [(1, "succeeded", 200), (2, "succeeded", 200)]
    shown = await client.get(f"/v1/subscriptions/{subscription['id']}")
    assert shown["target"] is None
    assert [step["description"] for step in shown["steps"]] == ["switch the feature off", "tell the team"]
    assert shown["steps"][0]["target"]["headers"] == {"Authorization": "***"}
    assert "1234567890abcdef" not in json.dumps(subscription)


@pytest.mark.slow
async def test_a_step_that_succeeded_is_not_repeated(client, webhooks, product, name):
    queue = fresh_id("queue")
    async with product.open_transport() as transport:
        await transport.declare(Topology((), (Queue(queue),), ()))
        second = webhooks.answer("/second", Answer(status=500, body=b"not now, s3cret-pin"), Answer())
        subscription = await subscribe(
            client,
            name,
            webhook(webhooks.url("/first")),
            webhook(second, headers={"X-Pin": "s3cret-pin"}),
            {"kind": "queue", "queue": queue},
            retry=AT_ONCE,
        )
        signal = await throw(client, name)
        done = await delivery(client, signal, subscription, "delivered")
        async with transport.consume(queue, prefetch=1) as inbox:
            [message] = await take(inbox, 1)

    first, again = done["attempts"]
    assert outcomes(first) == [(1, "succeeded", 200), (2, "refused", 500)]
    assert (first["outcome"], first["status"], first["response"]) == ("refused", 500, "not now, ***")
    assert first["steps"][1]["response"] == "not now, ***"
    assert first["steps"][0]["startedAt"] <= first["steps"][1]["startedAt"] <= done["finishedAt"]
    assert outcomes(again) == [(2, "succeeded", 200), (3, "succeeded", None)]
    identity = f"{signal['id']}-{subscription['id']}"
    sent = [(request.path, request.headers["webhook-id"]) for request in webhooks.requests]
    assert sent == [("/first", f"{identity}-1"), ("/second", f"{identity}-2"), ("/second", f"{identity}-2")]
    assert message.headers["delivery-id"] == f"{identity}-3"
    for request in webhooks.requests:
        Webhook(subscription["secret"]).verify(request.body, dict(request.headers))


@pytest.mark.slow
async def test_a_later_step_spares_a_target_that_asked_for_it_and_the_step_before_is_not_repeated(
    client, webhooks, name
):
    over = asyncio.Event()
    first = webhooks.answer("/first", Answer(until=over), Answer())
    second = webhooks.answer("/second", Answer(status=503, headers={"Retry-After": "60"}), Answer())
    subscription = await subscribe(client, name, webhook(first), webhook(second), retry={"schedule": [60]})
    waiting = await throw(client, name)
    await eventually(lambda: webhooks.requests)
    told = await throw(client, name)
    await delivery(client, told, subscription, "parked")
    over.set()

    async def spared():
        found = await client.get(f"/v1/deliveries/{waiting['id']}-{subscription['id']}")
        return found if found["reason"] == "throttled" else None

    [attempt] = (await eventually(spared))["attempts"]
    assert (attempt["outcome"], outcomes(attempt)) == ("succeeded", [(1, "succeeded", 200)])
    await client.post(f"/v1/subscriptions/{subscription['id']}/resume", {}, expect=200)
    done = await delivery(client, waiting, subscription, "delivered")
    assert [outcomes(attempt) for attempt in done["attempts"]] == [[(1, "succeeded", 200)], [(2, "succeeded", 200)]]
    assert [request.path for request in webhooks.requests] == ["/first", "/first", "/second", "/second"]


@pytest.mark.slow
async def test_a_redriven_delivery_goes_on_at_the_step_that_failed(client, webhooks, name):
    second = webhooks.answer("/second", Answer(status=500), Answer())
    targets = webhook(webhooks.url("/first")), webhook(second)
    subscription = await subscribe(client, name, *targets, retry={"schedule": []})
    signal = await throw(client, name)
    dead = await delivery(client, signal, subscription, "dead")

    await client.post(f"/v1/deliveries/{dead['id']}/redrive", {}, expect=200)

    done = await delivery(client, signal, subscription, "delivered")
    assert [outcomes(attempt)[-1] for attempt in done["attempts"]] == [(2, "refused", 500), (2, "succeeded", 200)]
    assert [request.path for request in webhooks.requests] == ["/first", "/second", "/second"]


async def test_a_webhook_is_made_of_the_signal_and_signed_as_it_is_sent(client, webhooks, name):
    target = webhook(
        webhooks.url("/flags/{{payload.flag}}?by={{payload.by}}"),
        method="PATCH",
        headers={"X-Flag": "{{payload.flag}}", "Content-Type": "application/merge-patch+json"},
        bodyTemplate='{"op": "{{payload.by}}", "limits": {{payload.limits}}, "try": {{attempt}}}',
    )
    subscription = await subscribe(client, name, target)
    payload = {"flag": "a/b é", "by": 'x"&y=1+1\r\nEvil: #1', "limits": {"cpu": [1, 2.5]}}

    await throw(client, name, payload=payload)

    [request] = await eventually(lambda: webhooks.requests)
    assert request.method == "PATCH"
    assert request.target == "/flags/a%2Fb%20%C3%A9?by=x%22%26y%3D1%2B1%0D%0AEvil%3A%20%231"
    assert request.headers["X-Flag"] == "a/b"
    assert request.headers["Content-Type"] == "application/merge-patch+json"
    assert json.loads(request.body) == {"op": payload["by"], "limits": {"cpu": [1, 2.5]}, "try": 1}
    Webhook(subscription["secret"]).verify(request.body, dict(request.headers))
    assert subscription["target"] == target | {"signatures": ["v1"], "format": "standard", "requestOrigin": None}


async def test_a_webhook_without_a_body_has_no_content_type(client, webhooks, name):
    subscription = await subscribe(client, name, webhook(webhooks.url(), method="DELETE", bodyTemplate=""))
    await throw(client, name)
    [request] = await eventually(lambda: webhooks.requests)
    assert (request.method, request.body, request.headers.get("Content-Type")) == ("DELETE", b"", None)
    signed_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    signature = Webhook(subscription["secret"]).sign(request.headers["webhook-id"], signed_at, "")
    assert request.headers["webhook-signature"] == signature


UNRENDERABLE = {
    "the body is not JSON: ": {"bodyTemplate": '{"a": {{payload.flag}}'},
    "a value of the URL is missing or empty": {"url": "/{{payload.nothing}}"},
    "what the template makes has more than 1024 bytes": {"headers": {"X-A": "{{payload.long}}"}},
}


@pytest.mark.parametrize(("error", "template"), UNRENDERABLE.items(), ids=UNRENDERABLE)
async def test_what_cannot_be_made_of_a_signal_is_a_failed_attempt_with_the_reason(
    client, webhooks, name, error, template
):
    target = webhook(**{"url": "", "bodyTemplate": "{}"} | template)
    target["url"] = webhooks.url(target["url"] or "/")
    subscription = await subscribe(client, name, target, retry=FAR)
    signal = await throw(client, name, payload={"flag": "f", "long": "x" * 1025})

    [attempt] = (await delivery(client, signal, subscription, "parked"))["attempts"]

    assert (attempt["outcome"], attempt["steps"]) == ("failed", None)
    assert attempt["error"].startswith(error)
    assert webhooks.requests == []


REFUSED = {
    "neither": ({}, "/target"),
    "both": ({"target": webhook(NOWHERE), "steps": [{"target": webhook(NOWHERE)}]}, "/target"),
    "no step": ({"steps": []}, "/steps"),
    "eleven": ({"steps": [{"target": webhook(NOWHERE)}] * 11}, "/steps"),
    "too long together": ({"steps": [{"target": webhook(NOWHERE)}] * 4, "timeoutSeconds": 300}, "/timeoutSeconds"),
    "an unclosed tag": ({"target": webhook(NOWHERE, bodyTemplate="{{payload")}, "/target/bodyTemplate"),
    "in a step": (
        {"steps": [{"target": webhook(NOWHERE)}, {"target": webhook(NOWHERE, bodyTemplate="{{#name}}x")}]},
        "/steps/1/target/bodyTemplate",
    ),
    "too long": ({"target": webhook(NOWHERE, bodyTemplate="x" * 16385)}, "/target/bodyTemplate"),
    "in a header": ({"target": webhook(NOWHERE, headers={"X-A": "{{payloat}}"})}, "/target/headers/X-A"),
    "a mask": ({"target": webhook(NOWHERE, headers={"X-Token": "***"})}, "/target/headers/X-Token"),
    "a content type": (
        {"target": webhook(NOWHERE, headers={"Content-Type": "text/xml"}, bodyTemplate="<a/>")},
        "/target/headers/Content-Type",
    ),
    "a content type of ours": (
        {"target": webhook(NOWHERE, headers={"Content-Type": "text/plain"})},
        "/target/headers/Content-Type",
    ),
    "a host": ({"target": webhook("https://{{payload.host}}/")}, "/target/url"),
    "a private host in a step": ({"steps": [{"target": webhook("http://10.0.0.1/")}]}, "/steps/0/target/url"),
    "a surrogate": ({"target": webhook(NOWHERE, bodyTemplate="\ud800")}, "/target/bodyTemplate"),
    "another method": ({"target": webhook(NOWHERE, method="GET")}, "/target/method"),
}


@pytest.mark.parametrize(("spec", "pointer"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_done_is_refused_with_its_place(client, name, spec, pointer):
    problem = await client.post("/v1/subscriptions", {"name": name, **spec}, expect=400)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
