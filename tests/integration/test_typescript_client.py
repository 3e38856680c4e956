"""The TypeScript client, packed and installed in clean projects: its README, repeats and webhooks."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tarfile

import pytest

from tests.support import node
from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.proxy import Link
from tests.support.python_client import SOURCE as PYTHON_CLIENT
from tests.support.receiver import Answer
from tests.support.throwing import recorded, recorded_ids, throw
from tests.support.typescript_client import SOURCE, run, run_tool
from tests.support.v1a import V1A

pytestmark = pytest.mark.slow

ACCEPTED = Answer(status=202, body=b'{"id": 7}')
NOW = {"Retry-After": "0"}
TYPED = """
import { Client, verify, handle, tryOut, type Received, type Signal } from '@signal-broker/client'
const broker = new Client('http://a', 'token')
const signal: Signal = await broker.throw('a', { b: 1 }, { tenantId: 'acme' })
const id: number = signal.id
await broker.subscribe({ name: 'a', target: { kind: 'pull' } })
const webhook = await verify(new Uint8Array(), new Headers(), ['whsec_AAAA'])
await handle(broker, id, async (payload, received) => [webhook.name, payload, received.attempt])
interface Paid { order: number }
const book = (paid: Paid, received: Received<Paid>): number => paid.order + received.payload.order
await handle(broker, { name: 'a', retry: { maxAttempts: 3 } }, book)
await handle<Paid>(broker, id, (paid) => paid.order, { log: console })
const error: string | undefined = (await tryOut(book, { order: 7 }, { tenantId: 'acme' })).error
new Client('http://a', error)
// @ts-expect-error: a payload has the handler's type
await tryOut(book, { order: '7' })
// @ts-expect-error: it is not said what it has
await handle(broker, id, (payload) => payload.order)
// @ts-expect-error: there is no such option
await broker.throw('a', {}, { tenant: 'acme' })
// @ts-expect-error: there is no such target
await broker.subscribe({ name: 'a', target: { kind: 'pigeon' } })
"""


async def snippet(typescript_readme, product, name):
    environment = {"SIGNAL_BROKER_URL": product.url, "SIGNAL_BROKER_TOKEN": ADMIN_TOKEN}
    return await asyncio.to_thread(run, typescript_readme / name, cwd=typescript_readme, **environment)


def test_the_package_has_the_product_s_version_no_dependencies_and_no_registry():
    package, lock = (json.loads((SOURCE / name).read_text()) for name in ("package.json", "package-lock.json"))
    assert f'version = "{package["version"]}"' in (PYTHON_CLIENT / "pyproject.toml").read_text()
    assert lock["version"] == package["version"]
    assert "dependencies" not in package
    assert "resolved" not in (SOURCE / "package-lock.json").read_text()


def test_npm_refuses_the_sources_until_they_are_built_and_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{node.NODE.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "package.json").write_text('{"private": true}')
    sources = tmp_path / "sources"
    shutil.copytree(SOURCE, sources, ignore=shutil.ignore_patterns("node_modules", "dist", "package-lock.json"))
    package = json.loads((SOURCE / "package.json").read_text())
    del package["devDependencies"]  # so that npm need not find them
    (sources / "package.json").write_text(json.dumps(package))
    with pytest.raises(RuntimeError, match="`make clients`"):
        node.npm("install", "--offline", "--no-audit", "--no-fund", str(sources), cwd=tmp_path)


async def test_npm_runs_nothing_where_the_package_is_installed(typescript_client):
    """Or npm would warn of scripts that its user has not allowed."""
    [packed] = typescript_client.glob("*.tgz")
    with tarfile.open(packed) as archive:
        package = json.load(archive.extractfile("package/package.json"))
    assert {"preinstall", "install", "postinstall", "prepare"}.isdisjoint(package.get("scripts", {}))


async def test_the_readme_s_programs_do_what_it_says(typescript_readme, product, client):
    said = await snippet(typescript_readme, product, "first.js")
    signal = await recorded(client, int(said.removeprefix("thrown: ")))
    assert (signal["name"], signal["payload"]) == ("order.paid", {"order": 7})

    said = (await snippet(typescript_readme, product, "all.js")).splitlines()
    secret, statuses, because, refusal, payload = said
    assert (secret, statuses) == ("keep this: whsec_...", "[ 202, 400 ]")
    assert because == "name, scope and filter match"
    assert refusal.startswith("400: /name: ")
    assert payload == "{ order: 10 }"

    assert await snippet(typescript_readme, product, "booking.test.js") == "given_up there are no books in USD\n"


async def test_its_types_are_those_of_the_api(typescript_client):
    path = typescript_client / "project" / "typed.mts"
    path.write_text(TYPED)
    options = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom"]
    await asyncio.to_thread(run_tool, typescript_client / "typescript", "typescript", *options, path, binary="tsc")


@pytest.mark.parametrize(
    "failure",
    [Answer(fate="close"), Answer(fate="cut", body=b'{"id"'), Answer(status=503, headers=NOW)],
    ids=["close", "cut", "503"],
)
async def test_a_throw_is_repeated_under_the_same_key(run_ts, webhooks, failure):
    webhooks.answer("/v1/signals", failure, failure, ACCEPTED)
    assert await run_ts(webhooks.url(""), "console.log(JSON.stringify(await broker.throw(name)))") == [{"id": 7}]
    assert len(webhooks.requests) == 3
    assert len({request.headers["Idempotency-Key"] for request in webhooks.requests}) == 1


async def test_patience_ends_and_what_may_exist_is_not_made_again(run_ts, webhooks):
    webhooks.answer("/v1/signals", Answer(status=503, headers={"Retry-After": "3600"}))
    webhooks.answer("/v1/subscriptions", Answer(fate="close"))
    webhooks.answer("/v1/signals/batch", Answer(fate="hang"))
    said = await run_ts(
        webhooks.url(""),
        "const told = (error) => console.log(JSON.stringify(error.name + ' ' + error.message))\n"
        "await broker.throw(name).catch(told)\n"
        "await broker.subscribe({ name, target: { kind: 'pull' } }).catch(told)\n"
        "await new sb.Client(url, token, { patience: 0.5, timeout: 0.2 }).throwBatch([{ name }]).catch(told)\n",
    )
    assert said[0] == "Unavailable gave up after 20 s: the server answered 503"
    assert said[1].startswith("Unavailable TypeError: fetch failed")
    assert said[1].endswith("; the request may have been carried out")
    assert said[2] == "Unavailable gave up after 0.5 s: TimeoutError: no answer came in time"
    assert [request.path for request in webhooks.requests].count("/v1/subscriptions") == 1


async def test_what_is_made_only_if_it_is_absent_is_asked_for_again(run_ts, webhooks):
    webhooks.answer("/v1/subscriptions", Answer(fate="close"), Answer(body=b'{"id": 7}'))
    asked = "broker.subscribe({ name, target: { kind: 'pull' } }, { ifAbsent: true })"
    assert await run_ts(webhooks.url(""), f"console.log(JSON.stringify(await {asked}))") == [{"id": 7}]
    assert [request.target for request in webhooks.requests] == ["/v1/subscriptions?ifAbsent=true"] * 2


NO_BROKER = "is the URL that of a signal-broker?"
TOLD = """
const told = (error) => console.log(JSON.stringify(`${error.name} ${error.message}`))
const nothing = () => console.log(JSON.stringify('nothing'))
"""


async def test_of_a_malformed_problem_what_can_be_read_is_told(run_ts, webhooks):
    problems = [
        b'{"detail": 5, "errors": "x"}',
        b'{"detail": null, "errors": [1, null, {"pointer": 5}]}',
        b'{"title": "No", "errors": [1, {"pointer": "/name", "detail": "is empty"}]}',
        b'["a"]',
    ]
    webhooks.answer("/v1/signals", *[Answer(status=400, body=one) for one in problems])
    statements = TOLD + "for (let i = 0; i < 4; i++) await broker.throw(name).then(nothing, told)"
    assert await run_ts(webhooks.url(""), statements) == [
        "Refused 400: the answer does not say why",
        "Refused 400: the answer does not say why",
        "Refused 400: /name: is empty",
        'Refused 400: ["a"]',
    ]


async def test_an_answer_that_cannot_be_read_says_so(run_ts, webhooks):
    answers = [
        Answer(status=202, body=b"abc", headers={"Content-Encoding": "gzip"}),
        Answer(status=202, body=b"<html>"),
        Answer(status=202, body=b"[1]"),
        Answer(status=202, body=b'{"id": "x", "results": {}}'),
        Answer(status=204),
    ]
    calls = {
        "/v1/signals": "throw(name)",
        "/v1/signals/batch": "throwBatch([{ name }])",
        "/v1/subscriptions": "subscribe({ name, target: { kind: 'pull' } })",
        "/v1/signals/explain": "explain(name).next()",
    }
    statements = TOLD
    for path, call in calls.items():
        webhooks.answer(path, *answers)
        statements += f"for (let i = 0; i < {len(answers)}; i++) await broker.{call}.then(nothing, told)\n"
    said = await run_ts(webhooks.url(""), statements)
    assert len(said) == len(answers) * len(calls)
    assert [one for one in said if not (one.startswith("Unreadable ") and one.endswith(NO_BROKER))] == []


async def test_a_redirect_is_refused_and_a_failure_repeated(run_ts, webhooks):
    webhooks.answer("/v1/signals", Answer(status=302, headers={"Location": "/login"}), Answer(status=500), ACCEPTED)
    statements = TOLD + "await broker.throw(name).catch(told)\nconsole.log((await broker.throw(name)).id)"
    assert await run_ts(webhooks.url(""), statements) == [
        f"Refused 302: it redirects to /login, which is not followed: {NO_BROKER}",
        7,
    ]


async def test_a_server_that_asks_for_no_pause_gets_growing_ones(run_ts, webhooks):
    webhooks.answer("/v1/signals", Answer(status=503, headers=NOW))
    statements = TOLD + "await broker.throw(name).then(nothing, told)"
    assert await run_ts(webhooks.url(""), statements, patience=2) == [
        "Unavailable gave up after 2 s: the server answered 503"
    ]
    assert 3 <= len(webhooks.requests) <= 6


async def test_a_tail_that_is_no_stream_of_signals_says_so(run_ts, webhooks):
    stream = {"Content-Type": "text/event-stream"}
    answers = [
        Answer(body=b"<html>", headers={"Content-Type": "text/html"}),
        Answer(status=204),
        Answer(body=b"data: [\n\n", headers=stream),
        Answer(body=b"abc", headers=stream | {"Content-Encoding": "gzip"}),
    ]
    webhooks.answer("/v1/signals/tail", *answers)
    statements = TOLD + "for (let i = 0; i < 4; i++) await broker.tail().next().then(nothing, told)"
    said = await run_ts(webhooks.url(""), statements)
    assert [one.partition(" ")[0] for one in said] == ["Unreadable"] * 4


async def test_what_cannot_be_sent_is_an_error_at_once(run_ts, webhooks):
    payloads = "() => 1, Symbol('x'), 10n, NaN, { x: Infinity }, new Map(), { x: [new Set()] }, Promise.resolve()"
    statements = TOLD
    statements += f"for (const one of [{payloads}]) await broker.throw(name, one).then(nothing, told)\n"
    statements += "await broker.throw(name, {}, { deliverAt: new Date(NaN) }).then(nothing, told)\n"
    statements += (
        "for (const x of ['a\\nb', '€']) await broker.throw(name, {}, { headers: { x } }).then(nothing, told)\n"
    )
    said = await run_ts(webhooks.url(""), statements)
    assert [one.partition(" ")[0] for one in said] == ["TypeError"] * 11
    assert said[4] == "TypeError x: JSON cannot hold Infinity"
    assert said[8] == "TypeError deliverAt: JSON cannot hold an invalid date"
    assert not webhooks.requests


async def test_what_no_url_can_hold_is_not_followed(run_ts, webhooks):
    follow = "for await (const one of broker.tail({ name: 'half a pair: \\ud800' })) console.log(one)"
    [said] = await run_ts(
        webhooks.url(""), f"try {{ {follow} }} catch (error) {{ console.log(JSON.stringify(`${{error}}`)) }}"
    )
    assert said == "TypeError: name has half of a surrogate pair"
    assert not webhooks.requests


async def test_a_tail_goes_on_after_the_last_signal_when_its_connection_breaks(run_ts, product, client, name):
    before = await throw(client, name)
    await recorded(client, before["id"])
    ids = [(await throw(client, name))["id"] for _ in range(3)]
    await recorded_ids(client, name, 4)
    statements = (
        f"const ids = new Set()\nfor await (const one of broker.tail({{ name, afterId: {before['id']} }})) {{\n"
    )
    statements += "ids.add(one.id); if (ids.size === 5) break }\nconsole.log(JSON.stringify([...ids]))"
    async with Link(product.url) as link:
        got = asyncio.create_task(run_ts(link.url, statements))
        await eventually(lambda: link.connections)
        link.reset()
        ids += [(await throw(client, name))["id"] for _ in range(2)]
        (seen,) = await got
    assert sorted(seen) == sorted(ids)


async def test_a_webhook_of_the_product_is_verified_and_a_forged_one_is_not(run_ts, product, client, webhooks, name):
    subscription = await client.post(
        "/v1/subscriptions", {"name": name, "target": {"kind": "webhook", "url": webhooks.url()}}
    )
    signal = await throw(client, name, payload={"ü": 1})
    request = (await eventually(lambda: webhooks.requests))[0]
    statements = f"const body = {json.dumps(request.body.decode())}, headers = {json.dumps(dict(request.headers))}\n"
    statements += f"const secrets = ['whsec_AAAA', '{subscription['secret']}']\n"
    statements += """
    const told = (error) => error.name + ' ' + error.message
    const now = Number(new Headers(headers).get('webhook-timestamp'))
    const say = (value) => console.log(JSON.stringify(value))
    say(await sb.verify(body, headers, secrets))
    say(await sb.verify(new TextEncoder().encode(body), new Headers(headers), secrets[1], { now: now + 299 }))
    say(await sb.verify(body + ' ', headers, secrets).catch(told))
    say(await sb.verify(body, headers, secrets[0]).catch(told))
    say(await sb.verify(body, headers, secrets, { now: now + 301 }).catch(told))
    say(await sb.verify(body, headers, secrets, { now: now - 301 }).catch(told))
    say(await sb.verify(body, {}, secrets).catch(told))
    say(await sb.verify(body, headers, 'whsec_ü').catch(told))
    say(await sb.verify(body, headers, secrets, { tolerance: NaN, now: now + 9999 }).catch(told))
    """
    first, second, *refusals = await run_ts(product.url, statements)
    assert first == second
    assert (first["id"], first["payload"]) == (signal["id"], {"ü": 1})
    assert refusals == [
        *["InvalidWebhook webhook-signature has no signature by this secret or public key"] * 2,
        "InvalidWebhook webhook-timestamp is 301 s ago",
        "InvalidWebhook webhook-timestamp is 301 s ahead",
        "InvalidWebhook there is no header webhook-id",
        "TypeError secret must be a webhook secret, whsec_ and base64, or a public key, whpk_ and base64",
        "TypeError tolerance and now must be numbers of seconds, not NaN",
    ]


async def test_a_webhook_that_is_signed_with_the_product_s_key_is_verified(run_ts, product, client, webhooks, name):
    target = {"kind": "webhook", "url": webhooks.url(), "signatures": ["v1a"]}
    await client.post("/v1/subscriptions", {"name": name, "target": target})
    signal = await throw(client, name)
    request = (await eventually(lambda: webhooks.requests))[0]
    keys = [one["publicKey"] for one in (await client.get("/v1/webhook-keys"))["items"]]
    statements = f"const body = {json.dumps(request.body.decode())}, headers = {json.dumps(dict(request.headers))}\n"
    statements += f"const keys = ['whsec_AAAA', '{V1A['publicKey']}', ...{json.dumps(keys)}]\n"
    statements += "console.log(JSON.stringify(await sb.verify(body, headers, keys)))"
    (webhook,) = await run_ts(product.url, statements)
    assert webhook["id"] == signal["id"]


async def test_a_signature_v1a_is_verified_as_specified_and_each_wrong_one_is_refused(run_ts, product):
    statements = f"const {{ publicKey, body, now, headers, wrong }} = {json.dumps(V1A)}\n"
    statements += """
    const say = (value) => console.log(JSON.stringify(value))
    const told = (error) => error.name + ' ' + error.message
    say(await sb.verify(body, headers, publicKey, { now }))
    for (const one of wrong) {
      const keys = one.keys ?? [publicKey]
      say(await sb.verify(one.body ?? body, { ...headers, ...one.headers }, keys, { now: one.now ?? now }).catch(told))
    }
    for (const key of ['whpk_', 'whpk_' + 'A'.repeat(42), 'whpk_' + 'A'.repeat(44), 'whpk_ü']) {
      say(await sb.verify(body, headers, key, { now }).catch(told))
    }
    """
    document, *refusals = await run_ts(product.url, statements)
    assert document == {"test": 2432232314}
    for change, refusal in zip(V1A["wrong"], refusals, strict=False):
        assert refusal.startswith("InvalidWebhook "), change["why"]
        assert change["told"] in refusal, change["why"]
    wrong_keys = refusals[len(V1A["wrong"]) :]
    assert wrong_keys == ["TypeError a public key must be whpk_ and 32 bytes in base64"] * 4
