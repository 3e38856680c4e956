"""Receivers that permit webhooks later, by the callback that they are sent (HTTP 1.1 Web Hooks, 4.1.3)."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.support.eventually import eventually
from tests.support.postgres import fresh_database
from tests.support.product import Process, client_of
from tests.support.receiver import Answer
from tests.support.throwing import FAR, delivery, throw

PUBLIC = "https://signals.example/broker"
SILENT = Answer(status=405, headers={"Allow": "POST"})
ORIGIN = "broker.example.com"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def processes(store_server, tmp_path_factory):
    """The product, and a second gateway beside it, which know the public URL."""
    async with fresh_database(store_server) as store_url:
        directory = tmp_path_factory.mktemp("product")
        environment = {"STORE_URL": store_url, "DATA_DIR": str(directory), "PUBLIC_URL": PUBLIC}
        async with (
            Process("run", environment=environment, log=directory / "log") as product,
            Process("gateway", environment=environment, log=directory / "log2") as gateway,
        ):
            yield product, gateway


@pytest.fixture
async def client(processes):
    async with client_of(processes[0].url) as client:
        yield client


@pytest.fixture
async def stranger(processes):
    """A caller without credentials, at the other gateway."""
    async with client_of(processes[1].url) as client:
        yield client.caller("")


async def subscribe(client, name, url):
    target = {"kind": "webhook", "url": url, "requestOrigin": ORIGIN}
    return await client.post("/v1/subscriptions", {"name": name, "target": target, "retry": FAR}, expect=201)


async def asked(client, webhooks, subscription, name):
    """Return the delivery that waits for a permission, and the path of the callback that the receiver was sent."""
    parked = await delivery(client, await throw(client, name), subscription, "parked")
    callback = webhooks.requests[-1].headers["WebHook-Request-Callback"]
    assert callback.startswith(f"{PUBLIC}/v1/webhook-permissions?key=")
    return parked, callback.removeprefix(PUBLIC)


async def redriven(client, parked, state):
    """Return the delivery once it was tried again and is in *state*."""
    await client.post(f"/v1/deliveries/{parked['id']}/redrive", None)

    async def tried():
        found = await client.get(f"/v1/deliveries/{parked['id']}")
        return found if found["state"] == state and found["attemptCount"] > parked["attemptCount"] else None

    return await eventually(tried)


@pytest.mark.slow
async def test_a_receiver_permits_by_callback_at_any_gateway_and_is_not_asked_again(
    processes, client, stranger, webhooks, name
):
    url = webhooks.answer(f"/{name}", SILENT, Answer())
    subscription = await subscribe(client, name, url)
    parked, callback = await asked(client, webhooks, subscription, name)
    assert parked["attempts"][0]["outcome"] == "refused"

    for method in ("GET", "POST"):
        status, _, body = await stranger.request(method, callback)
        assert (status, body) == (204, b"")

    await redriven(client, parked, "delivered")
    assert [(one.method, one.headers["WebHook-Request-Origin"]) for one in webhooks.requests] == [
        ("OPTIONS", ORIGIN),
        ("POST", ORIGIN),
    ]
    assert await processes[0].stop() == 0
    await processes[0].start()
    await delivery(client, await throw(client, name), subscription, "delivered")
    assert [one.method for one in webhooks.requests] == ["OPTIONS", "POST", "POST"]


@pytest.mark.slow
async def test_a_permission_is_for_one_subscription_and_url(client, stranger, webhooks, name):
    url = webhooks.answer(f"/{name}", SILENT)
    subscription, other = await subscribe(client, name, url), await subscribe(client, f"{name}.other", url)
    parked, callback = await asked(client, webhooks, subscription, name)
    assert (await stranger.request("GET", callback))[0] == 204

    await delivery(client, await throw(client, f"{name}.other"), other, "parked")
    moved = {"target": {"kind": "webhook", "url": f"{url}/moved", "requestOrigin": ORIGIN}}
    webhooks.answer(f"/{name}/moved", SILENT)
    await client.request("PATCH", f"/v1/subscriptions/{subscription['id']}", json=moved)
    await redriven(client, parked, "dead")
    assert {one.method for one in webhooks.requests} == {"OPTIONS"}


@pytest.mark.slow
async def test_of_a_url_that_is_a_template_one_receiver_is_permitted(client, stranger, webhooks, name):
    for path in ("1", "2"):
        webhooks.answer(f"/{name}/{path}", SILENT, Answer())
    subscription = await subscribe(client, name, webhooks.url(f"/{name}/{{{{payload.n}}}}"))
    owed = [await throw(client, name, payload={"n": number}) for number in (1, 2)]
    first, second = [await delivery(client, signal, subscription, "parked") for signal in owed]
    asked_first = next(one for one in webhooks.requests if one.path == f"/{name}/1")
    callback = asked_first.headers["WebHook-Request-Callback"].removeprefix(PUBLIC)
    assert (await stranger.request("POST", callback))[0] == 204

    await redriven(client, first, "delivered")
    await redriven(client, second, "dead")


async def test_who_reads_attempts_does_not_learn_the_callback(client, webhooks, name):
    """Otherwise one who subscribes a foreign receiver could permit it himself."""
    webhooks.answer(f"/{name}", Answer(status=405, body=b"no"))
    subscription = await subscribe(client, name, webhooks.url(f"/{name}"))
    parked, callback = await asked(client, webhooks, subscription, name)
    key = callback.partition("key=")[2]

    sample = await client.post(f"/v1/subscriptions/{subscription['id']}/test", {}, expect=200)
    assert sample["outcome"] == "refused"
    assert f"{PUBLIC}/v1/webhook-permissions?key=***" in str(sample)
    for told in (sample, parked, await client.get(f"/v1/deliveries/{parked['id']}")):
        assert key not in str(told)
    assert webhooks.requests[-1].headers["WebHook-Request-Callback"].partition("key=")[2] not in str(sample)


@pytest.mark.slow
async def test_what_is_no_callback_changes_nothing_and_tells_nothing(client, stranger, webhooks, name):
    url = webhooks.answer(f"/{name}", SILENT)
    subscription = await subscribe(client, name, url)
    parked, callback = await asked(client, webhooks, subscription, name)
    path = callback.partition("?")[0]

    wrong = [
        "",
        "?key=",
        f"?key={subscription['id']}",
        f"?key={subscription['secret']}",
        callback.removeprefix(path)[:-3],
    ]
    answers = [await stranger.request(method, path + query) for query in wrong for method in ("GET", "POST")]
    assert [status for status, _, _ in answers] == [404] * 10
    assert len({body["detail"] for _, _, body in answers}) == 1
    for query, pointer in ((f"?key={'x' * 1001}", "?key"), ("?other=1", "?other")):
        status, _, problem = await stranger.request("POST", path + query)
        assert (status, [error["pointer"] for error in problem["errors"]]) == (400, [pointer])
    assert (await stranger.request("HEAD", callback))[0] == 204

    await redriven(client, parked, "dead")
    await client.request("DELETE", f"/v1/subscriptions/{subscription['id']}")
    assert (await stranger.request("POST", callback))[0] == 404
    assert {one.method for one in webhooks.requests} == {"OPTIONS"}
