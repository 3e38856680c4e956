"""What the product signs, verified by the official libraries and by the examples of docs/webhooks.md."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from tests.support.eventually import eventually
from tests.support.node import NODE, install
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import fresh_id, subscribe, throw, token

DOCUMENT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


def block(language, label):
    """Return the one block of the document with that label."""
    [text] = re.findall(rf"^```{language} {label}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    return text


async def delivered(client, webhooks, name):
    """Return headers and body of the webhook of a signal thrown now."""
    count = len(webhooks.requests)
    await throw(client, name)
    await eventually(lambda: len(webhooks.requests) > count)
    request = webhooks.requests[-1]
    return {key.lower(): value for key, value in request.headers.items()}, request.body


async def rotate(client, subscription, **spec):
    """Return the new secret."""
    answer = await client.post(f"/v1/subscriptions/{subscription['id']}/rotate-secret", spec, expect=200)
    assert answer["id"] == subscription["id"]
    return answer["secret"]


def accepted(secret, webhook):
    """Whether the official Python library, as the document uses it, accepts *webhook* with *secret*."""
    example = {}
    exec(block("python", "v1").replace("whsec_...", secret), example)
    headers, body = webhook
    try:
        return example["signal_of"](headers, body) == json.loads(body)
    except WebhookVerificationError:
        return False


async def accepted_in_node(*cases):
    """Return for each (example of the document, webhook, public keys) whether the example accepts the webhook."""
    directory = await asyncio.to_thread(install, Path(__file__).with_name("node"))
    documents = [
        {"example": example, "headers": headers, "body": body.decode(), "keys": keys}
        for example, (headers, body), keys in cases
    ]
    process = await asyncio.create_subprocess_exec(
        *(NODE, directory / "verify.mjs"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, problems = await process.communicate(json.dumps(documents).encode())
    assert process.returncode == 0, problems.decode()
    names = [json.loads(document["body"])["name"] for document in documents]
    return [said == name for said, name in zip(json.loads(out), names, strict=True)]


def altered(webhook):
    headers, body = webhook
    return headers, body.replace(b'"broadcast"', b'"untenanted"')


@pytest.mark.slow
async def test_the_official_libraries_verify_before_during_and_after_a_rotation(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.url())
    first = subscription["secret"]
    before = await delivered(client, webhooks, name)
    second = await rotate(client, subscription)
    during = await delivered(client, webhooks, name)
    third = await rotate(client, subscription, graceSeconds=604800)
    twice = await delivered(client, webhooks, name)
    fourth = await rotate(client, subscription, graceSeconds=0)
    after = await delivered(client, webhooks, name)

    webhooks_of = {"before": before, "during": during, "twice": twice, "after": after}
    secrets = [first, second, third, fourth]
    assert {when: [accepted(secret, one) for secret in secrets] for when, one in webhooks_of.items()} == {
        "before": [True, False, False, False],
        "during": [True, True, False, False],
        "twice": [False, True, True, False],
        "after": [False, False, False, True],
    }
    assert [len(headers["webhook-signature"].split(" ")) for headers, _ in webhooks_of.values()] == [1, 2, 2, 1]
    assert not accepted(second, altered(during))
    example = block("js", "v1")
    cases = [(secret, during) for secret in secrets] + [(second, altered(during))]
    assert await accepted_in_node(*((example.replace("whsec_...", secret), one, []) for secret, one in cases)) == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.slow
async def test_the_old_secret_stops_signing_when_its_time_is_over(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.url())
    await rotate(client, subscription, graceSeconds=1)

    async def signatures():
        headers, _ = await delivered(client, webhooks, name)
        return headers["webhook-signature"].count("v1,") == 1

    await eventually(signatures)


async def public_keys(client):
    """Return the public keys, as whoever has no credentials sees them."""
    answer = await client.caller("").get("/v1/webhook-keys")
    return [key["publicKey"] for key in answer["items"]]


async def test_v1a_is_verified_with_the_public_keys_during_a_rotation_too(client, webhooks, name):
    target = {"kind": "webhook", "url": webhooks.url(), "signatures": ["v1a"]}
    created = await client.post("/v1/subscriptions", {"name": name, "target": target}, expect=201)
    assert created["target"]["signatures"] == ["v1a"]
    before = await delivered(client, webhooks, name)
    old = await public_keys(client)
    rotated = await client.post("/v1/webhook-keys/rotate", {"graceSeconds": 60}, expect=200)
    during = await delivered(client, webhooks, name)
    both = await public_keys(client)
    await client.post("/v1/webhook-keys/rotate", {"graceSeconds": 0}, expect=200)
    after = await delivered(client, webhooks, name)
    new = await public_keys(client)

    assert [key["publicKey"] for key in rotated["items"]] == both
    assert [key["validUntil"] is None for key in rotated["items"]] == [True, False]
    assert (both[1:], len(new), new[0] in both) == (old, 1, False)
    python = {}
    exec(block("python", "v1a"), python)
    cases = [(before, old), (during, old), (during, both[:1]), (after, new), (after, both), (altered(during), both)]
    expected = [True, True, True, True, False, False]

    def verified(webhook, keys):
        try:
            return python["signal_of"](*webhook, keys)["name"] == name
        except ValueError:
            return False

    assert [verified(*case) for case in cases] == expected
    example = block("js", "v1a")
    assert await accepted_in_node(*((example, *case) for case in cases)) == expected
    assert [text.split(",")[0] for text in during[0]["webhook-signature"].split(" ")] == ["v1a", "v1a"]


async def test_a_webhook_signed_both_ways_satisfies_a_library_that_knows_v1_only(client, webhooks, name):
    target = {"kind": "webhook", "url": webhooks.url(), "signatures": ["v1a", "v1"]}
    created = await client.post("/v1/subscriptions", {"name": name, "target": target}, expect=201)
    headers, body = await delivered(client, webhooks, name)
    assert {text.split(",")[0] for text in headers["webhook-signature"].split(" ")} == {"v1", "v1a"}
    assert Webhook(created["secret"]).verify(body, headers)["name"] == name


async def test_the_documents_commands_work_as_pasted(client, product, name):
    subscription = await subscribe(client, name)
    commands = re.findall(r"^```sh\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    pasted = "".join(commands).replace("http://127.0.0.1:8080", product.url)
    pasted = pasted.replace("/subscriptions/1/", f"/subscriptions/{subscription['id']}/")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", pasted), env={"TOKEN": ADMIN_TOKEN, "PATH": os.environ["PATH"]}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    rotated, keys, rotated_keys = [json.loads(answer) for answer in out.decode().replace("}{", "}\n{").splitlines()]
    assert rotated["secret"].startswith("whsec_")
    assert {key["publicKey"][:5] for key in keys["items"]} == {"whpk_"}
    assert rotated_keys["items"][1]["publicKey"] == keys["items"][0]["publicKey"]


@pytest.mark.parametrize("grace", [-1, 604801, 1.5, "60", None])
async def test_a_grace_of_less_than_nothing_or_more_than_a_week_is_refused(client, name, grace):
    subscription = await subscribe(client, name)
    for path in (f"/v1/subscriptions/{subscription['id']}/rotate-secret", "/v1/webhook-keys/rotate"):
        problem = await client.post(path, {"graceSeconds": grace}, expect=400)
        assert [error["pointer"] for error in problem["errors"]] == ["/graceSeconds"]


@pytest.mark.parametrize("signatures", [[], ["v2"], ["v1", "v1a", "v1"], "v1", [1]])
async def test_only_known_signatures_can_be_asked_for(client, name, signatures):
    target = {"kind": "webhook", "url": "http://127.0.0.1:9/", "signatures": signatures}
    problem = await client.post("/v1/subscriptions", {"name": name, "target": target}, expect=400)
    assert problem["errors"][0]["pointer"].startswith("/target/signatures")


async def test_without_a_body_there_is_a_day_of_grace(client, webhooks, name):
    subscription = await subscribe(client, name, webhooks.url())
    path = f"/v1/subscriptions/{subscription['id']}/rotate-secret"
    status, _, body = await client.request("POST", path, skip_auto_headers=["Content-Type"])
    webhook = await delivered(client, webhooks, name)
    assert (status, accepted(subscription["secret"], webhook), accepted(body["secret"], webhook)) == (200, True, True)


async def test_what_signs_nothing_cannot_be_rotated(client, name):
    queue = await client.post("/v1/subscriptions", {"name": name, "target": {"kind": "queue", "queue": "q"}})
    await client.post(f"/v1/subscriptions/{queue['id']}/rotate-secret", {}, expect=409)
    await client.post("/v1/subscriptions/999999999/rotate-secret", {}, expect=404)
    await client.post("/v1/subscriptions/none/rotate-secret", {}, expect=404)


async def test_only_those_may_rotate_who_may_manage_it(client, name):
    subscription = await subscribe(client, name, tenantId=fresh_id("tenant"))
    path = f"/v1/subscriptions/{subscription['id']}/rotate-secret"
    await client.caller("").post(path, {}, expect=401)
    await client.caller(await token(client, "signals:throw")).post(path, {}, expect=403)
    await client.caller(await token(client, "subscriptions:manage", tenants=["other"])).post(path, {}, expect=404)
    await client.caller(await token(client, "subscriptions:manage", names=["other"])).post(path, {}, expect=403)
    await client.caller("").post("/v1/webhook-keys/rotate", {}, expect=401)
    manager = client.caller(await token(client, "subscriptions:manage"))
    await manager.post("/v1/webhook-keys/rotate", {}, expect=403)
    await manager.post(path, {}, expect=200)
