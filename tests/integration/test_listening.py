"""``listen`` and ``tail``: signals arrive as they are recorded, each once, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from tests.support.eventually import eventually
from tests.support.listening import Script, event, listening, steadily
from tests.support.product import ADMIN_TOKEN, client_of
from tests.support.proxy import Link
from tests.support.receiver import Answer
from tests.support.remote import Laptop, other_server, token_of
from tests.support.throwing import fresh_id, recorded, throw

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
async def newest(client, name):
    """Return the id of a recorded signal that nothing was recorded after yet."""
    return (await recorded(client, (await throw(client, f"before-{name}"))["id"]))["id"]


async def passed_on(client, follower, name):
    """Throw signals until one has arrived: from then on the follower is connected."""

    async def arrives():
        await throw(client, name)
        return follower.ids

    await eventually(arrives, every=0.1)


# Across lost connections


async def test_nothing_is_missed_and_nothing_told_twice_while_connections_break(laptop, client, product, name, newest):
    link = Link(product.url)
    async with (
        link,
        listening(laptop, "listen", name, "--json", "--since-id", str(newest), SIGNAL_BROKER_URL=link.url) as follower,
    ):
        stop = asyncio.Event()
        throwing = asyncio.create_task(steadily(lambda: throw(client, name), stop))
        for _ in range(4):
            before = len(follower.ids)
            await eventually(lambda before=before: len(follower.ids) > before)
            link.reset()
        stop.set()
        thrown = await throwing
        await eventually(lambda: len(follower.ids) >= len(thrown))
        assert await follower.interrupt() == 0
    assert sorted(follower.ids) == thrown
    assert follower.told.count("the connection is lost (it broke off); trying again, after signal ") >= 1
    assert f"interrupted: --since-id {follower.ids[-1]} goes on\n" in follower.told


async def test_a_gateway_that_restarts_is_followed_on(laptop, client, product, name):
    async with (
        product.sibling("gateway") as gateway,
        listening(laptop, "listen", name, "--json", SIGNAL_BROKER_URL=gateway.url) as follower,
    ):
        await passed_on(client, follower, name)
        assert await gateway.stop() == 0
        missed = [(await throw(client, name))["id"] for _ in range(20)]
        await recorded(client, missed[-1])
        await eventually(lambda: "the connection is lost (it was ended)" in follower.told)
        await gateway.start()
        await eventually(lambda: set(follower.ids) >= set(missed))
        later = await throw(client, name)
        await eventually(lambda: later["id"] in follower.ids)
        assert len(set(follower.ids)) == len(follower.ids)
        assert follower.told.count("\n") == 2, "one outage is told of once"
        assert follower.told.endswith("connected again\n")


async def test_the_product_in_this_directory_is_found_again_after_a_restart(product, client, name, tmp_path):
    """It has another token then, and another port."""
    beside = Laptop(tmp_path, DATA_DIR=str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    async with (
        product.sibling("gateway", DATA_DIR=str(tmp_path / "data")) as gateway,
        listening(beside, "tail", "--name", name, "--json") as follower,
    ):
        await passed_on(client, follower, name)
        assert await gateway.stop() == 0
        async with product.sibling("gateway", DATA_DIR=str(tmp_path / "data")) as other:
            assert other.url != gateway.url
            later = await throw(client, name)
            await eventually(lambda: later["id"] in follower.ids)


async def test_who_was_too_slow_reads_what_was_left_out(stranger):
    lagged = b"event: lagged\ndata: {}\n\n"
    script = Script([event(7), event(9), lagged], [event(9), event(8), event(12)])
    async with other_server(script.answer) as url:
        done = await stranger.call(
            "listen", "a", "--since-id", "5", "--count", "4", "--json", "--url", url, "--token", "sb_x"
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [7, 9, 8, 12]
    assert script.resumed == ["5", "9"]


async def test_events_are_read_however_they_are_cut(stranger):
    whole = b"retry: 1000\n\n:\n\n" + event(1).replace(b"\n", b"\r\n") + event(2, "b") + b"data: {}\n\n"[:-1]
    pieces = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    script = Script(pieces, [event(3)])
    async with other_server(script.answer) as url:
        done = await stranger.call("tail", "--since-id", "0", "--count", "3", "--url", url, "--token", "sb_x")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["1", "2", "3"]
    assert script.resumed == ["0", "2"], "an event that is cut off is none"


async def test_an_outage_ends_with_an_answer_or_with_a_refusal(stranger):
    down = web.Response(status=502, text="<html>")
    script = Script([event(1)], down, web.Response(status=503), [event(2)], web.Response(status=401))
    async with other_server(script.answer) as url:
        done = await stranger.call("listen", "a", "--since-id", "0", "--json", "--url", url, "--token", "sb_x")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1, 2]
    lines = done.stderr.splitlines()
    assert lines[0] == "the connection is lost (it was ended); trying again, after signal 1"
    assert lines[1:3] == [
        "connected again",
        "the connection is lost (it was ended); trying again, after signal 2",
    ]
    assert lines[3:] == [
        f"Error: {url} does not accept the token: wrong, expired or revoked; `signal-broker login` stores another"
    ]
    assert (done.returncode, script.resumed) == (1, ["0", "1", "1", "1", "2"])


# What is followed


async def test_only_signals_of_a_tenant_are_followed(laptop, client, name):
    mine, theirs = fresh_id("tenant"), fresh_id("tenant")
    first = await throw(client, name, tenantId=mine)
    last = [await throw(client, name, tenantId=tenant) for tenant in (theirs, mine)][-1]
    await recorded(client, last["id"])
    done = await laptop.ask("listen", name, "--since-id", str(first["id"] - 1), "--tenant", mine, "--count", "1")
    assert done["id"] == first["id"]
    limited = await token_of(client, "signals:read", tenants=[mine])
    which = ("--since-id", str(first["id"] - 1), "--count", "2", "--json", "--token", limited)
    done = await laptop.call("listen", name, *which)
    assert sorted(json.loads(line)["id"] for line in done.stdout.splitlines()) == [first["id"], last["id"]]


async def test_a_signal_is_printed_soon_after_it_is_thrown(laptop, client, name):
    """The bound only tells a stream from what is stuck until something else happens."""
    async with listening(laptop, "listen", name, "--json") as follower:
        await passed_on(client, follower, name)
        signal = await throw(client, name)
        await eventually(lambda: signal["id"] in follower.ids, within=5)


async def test_ctrl_c_while_one_is_passed_on_says_how_to_get_it_again(laptop, client, webhooks, name, newest):
    first, second = [(await throw(client, name))["id"] for _ in range(2)]
    await recorded(client, second)
    url = webhooks.answer("/hook", Answer(status=204), Answer(fate="hang"))
    which = ("listen", name, "--since-id", str(newest), "--json", "--forward", url)
    async with listening(
        laptop, *which, "--secret", "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    ) as follower:
        await eventually(lambda: len(webhooks.requests) == 2)
        done, begun = follower.ids
        assert await follower.interrupt() == 0
    assert {done, begun} == {first, second}
    assert follower.told == f"interrupted: --since-id {done} goes on\n"


# What goes wrong


@pytest.mark.parametrize("command", [("listen", "a"), ("tail", "--name", "a")])
@pytest.mark.parametrize("since", [(), ("--since-id", "0")])
async def test_what_is_wrong_from_the_beginning_is_one_line(stranger, product, client, command, since):
    async def refusal(url, token):
        return await stranger.refusal(*command, *since, "--url", url, "--token", token)

    assert "does not accept the token: wrong, expired or revoked" in await refusal(product.url, "sb_wrong")
    thrower = await token_of(client, "signals:throw")
    assert "needs the permission signals:read" in await refusal(product.url, thrower)
    assert await refusal(f"{product.url}/x", ADMIN_TOKEN) == (
        f"{product.url}/x has no /v1/signals{'/tail' if since else ''}: is the URL right, and its version no older?"
    )
    assert "cannot be reached: connection refused; does it run there?" in await refusal("http://127.0.0.1:1", "sb_x")
    for answer, told in (
        (web.Response(text="<html>", content_type="text/html"), "200 OK: that is no signal-broker; is the URL right?"),
        (web.Response(status=502, text="<html>"), "a proxy does not reach the signal-broker behind it"),
    ):

        async def reply(_request, answer=answer):
            return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

        async with other_server(reply) as url:
            assert told in await refusal(url, "sb_x")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--forward", "localhost:9000/hook"), "--forward: 'localhost:9000/hook' is no URL like"),
        (("--forward", "http://"), "--forward: 'http://' is no URL like"),
        (("--forward", "http://127.0.0.1:9/", "--secret", "whsec_!"), "--secret: "),
        (("--secret", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"), "--secret goes with --forward"),
    ],
)
async def test_what_cannot_be_passed_on_is_told_before_anything_is_received(stranger, wrong, told):
    done = await stranger.call("listen", "a", *wrong, "--url", "http://127.0.0.1:1", "--token", "sb_x")
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


async def test_events_of_another_server_are_no_signals(stranger):
    async with other_server(Script([b"data: {}\n\n"]).answer) as url:
        line = await stranger.refusal("tail", "--since-id", "0", "--url", url, "--token", "sb_x")
    assert line == f"{url} sent an event that is no signal; is the URL right?"


async def test_a_name_that_the_token_may_not_read_is_refused(laptop, client, name):
    limited = await token_of(client, "signals:read", names=[f"{name}.#"])
    line = await laptop.refusal("listen", f"other-{name}", "--token", limited)
    assert f"other-{name}" in line


async def test_a_gateway_beside_the_store_is_followed_on_its_socket(product, client, name, tmp_path):
    first = await throw(client, name)
    await recorded(client, first["id"])
    operator = Laptop(tmp_path, STORE_URL=product.environment["STORE_URL"])
    signal = await operator.ask("tail", "--name", name, "--since-id", "0", "--count", "1")
    assert signal["id"] == first["id"]
    async with client_of(product.url, await token_of(client, "signals:read")) as reader:
        assert await reader.get(f"/v1/signals/{first['id']}") == signal
