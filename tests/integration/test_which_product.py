"""The command line finds the product that it is about, and says what is wrong on the way there."""

from __future__ import annotations

import asyncio
import json
import stat

import pytest
from aiohttp import web

from tests.support.certificates import Authority
from tests.support.product import ADMIN_TOKEN, SECRET_KEY
from tests.support.remote import Laptop, other_server, token_of
from tests.support.throwing import NOWHERE, fresh_id, recorded, throw

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


# Which product


async def test_the_product_is_named_before_the_command_or_behind_it_or_by_the_environment(stranger, product):
    which = ("--url", product.url + "/", "--token", ADMIN_TOKEN)
    books = await stranger.ask(*which, "ledger")
    assert books["unaccounted"] == 0
    assert (await stranger.call("ledger", *which)).returncode == 0
    assert (await stranger.call("token", "list", *which)).returncode == 0
    wrong = {"SIGNAL_BROKER_URL": "http://127.0.0.1:1", "SIGNAL_BROKER_TOKEN": "sb_wrong"}
    assert (await stranger.call(*which, "ledger", **wrong)).returncode == 0
    right = {"SIGNAL_BROKER_URL": product.url, "SIGNAL_BROKER_TOKEN": ADMIN_TOKEN}
    assert (await stranger.call("ledger", **right)).returncode == 0
    assert (await stranger.call("ledger", "--token", "sb_wrong", **right)).returncode == 1


async def test_login_stores_what_opens_the_product_for_its_owner_alone(stranger, client, product, name):
    thrower = await token_of(client, "signals:throw")
    stored = await stranger.ask("login", "--url", product.url, "--token", ADMIN_TOKEN)
    await stranger.ask("login", "--url", product.url, "--token", thrower, "--profile", "thrower")
    file = stranger.home / ".config" / "signal-broker" / "config.toml"
    assert (stored["file"], stat.S_IMODE(file.stat().st_mode)) == (str(file), 0o600)
    assert (await stranger.ask("ledger"))["unaccounted"] == 0
    assert "needs the permission" in await stranger.refusal("ledger", "--profile", "thrower")
    assert "needs the permission" in await stranger.refusal("ledger", SIGNAL_BROKER_PROFILE="thrower")
    assert (await stranger.ask("--profile", "thrower", "throw", name))["name"] == name
    assert await stranger.refusal("ledger", "--profile", "nobody") == (
        "there is no profile 'nobody' (there are default, thrower): run `signal-broker login --profile nobody`"
    )
    elsewhere = {"XDG_CONFIG_HOME": str(stranger.home / "xdg")}
    await stranger.ask("login", "--url", product.url, "--token", ADMIN_TOKEN, **elsewhere)
    assert (stranger.home / "xdg" / "signal-broker" / "config.toml").exists()


async def test_login_asks_for_what_is_missing_and_does_not_show_the_token(stranger, product):
    shown = await stranger.talk("login", URL=product.url, Token=ADMIN_TOKEN)
    assert product.url in shown
    assert ADMIN_TOKEN not in shown
    assert (await stranger.ask("ledger"))["unaccounted"] == 0


async def test_login_stores_nothing_that_does_not_work(stranger, product):
    assert "does not accept the token" in await stranger.refusal("login", "--url", product.url, "--token", "sb_wrong")
    assert "cannot be reached" in await stranger.refusal("login", "--url", "http://127.0.0.1:1", "--token", "x")
    unasked = await stranger.call("login", "--url", product.url)
    assert (unasked.returncode, "pass --token" in unasked.stderr) == (2, True)
    assert list(stranger.home.iterdir()) == []


async def test_a_token_of_a_profile_goes_to_no_other_product(stranger, product):
    seen = []

    async def answer(request):
        seen.append(request.headers.get("Authorization"))
        return web.json_response({}, status=401)

    await stranger.ask("login", "--url", product.url, "--token", ADMIN_TOKEN)
    async with other_server(answer) as url:
        assert "wants a token" in await stranger.refusal("ledger", "--url", url)
    assert seen == [None]


async def test_a_gateway_tells_commands_on_its_machine_where_it_is(client, product, tmp_path, name):
    """They need neither the URL nor the password of PostgreSQL: the data directory says it."""
    beside = Laptop(tmp_path, DATA_DIR=str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "running.json"
    async with product.sibling("gateway", DATA_DIR=str(tmp_path / "data")) as gateway:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert (await beside.ask("throw", name))["name"] == name
        token = json.loads(file.read_text())["token"]
        assert (await client.caller(token).request("GET", "/v1/tokens"))[0] == 401, "it opens that process alone"
        assert "does not accept the token" in await beside.refusal("ledger", SIGNAL_BROKER_TOKEN="sb_wrong")
        assert (await beside.call("--token", ADMIN_TOKEN, "ledger")).returncode == 0
        other = await beside.refusal("throw", name, SIGNAL_BROKER_STORE_URL="postgresql://127.0.0.1:1/other")
        assert other.startswith("PostgreSQL: "), "settings that name another store are about another product"
        assert await gateway.stop() == 0
    assert not file.exists()
    assert "there is no signal-broker in" in await beside.refusal("throw", name)


async def test_what_a_killed_process_left_is_ignored(product, tmp_path, name):
    beside = Laptop(tmp_path, DATA_DIR=str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    async with product.sibling("gateway", DATA_DIR=str(tmp_path / "data")) as gateway:
        gateway.kill()
        await gateway.process.wait()
        assert (tmp_path / "data" / "running.json").exists()
        assert "there is no signal-broker in" in await beside.refusal("throw", name)
        await gateway.start()
        assert (await beside.ask("throw", name))["name"] == name


@pytest.mark.transports("embedded", "rabbitmq")
async def test_beside_the_store_and_the_transport_alone_an_operator_needs_no_product(product, client, tmp_path, name):
    """So the first token is made, and a signal thrown, before any gateway runs."""
    named = {key: value for key, value in product.environment.items() if key in {"STORE_URL", "TRANSPORT_URL"}}
    operator = Laptop(tmp_path, **named)
    made = await operator.ask("token", "create", name, "--permission", "admin")
    assert (await client.caller(made["token"]).request("GET", "/v1/tokens"))[0] == 200
    thrown = await operator.ask("throw", name, "--payload", '{"n": 1.50}')
    assert (await recorded(client, thrown["id"]))["payload"] == {"n": 1.5}
    assert [one["id"] for one in await operator.ask("signals", "list", "--name", name)] == [thrown["id"]]
    endpoint = await operator.ask("endpoint", "create", f"e{thrown['id']}")
    assert endpoint["url"] == f"/api/signal-endpoint/e{thrown['id']}", "where it is reached is not known here"
    assert (await operator.ask("ledger"))["transportError"] is None
    refused = await operator.refusal("subscribe", name, "--webhook", NOWHERE)
    assert refused.startswith("SIGNAL_BROKER_SECRET_KEYS"), "what seals secrets needs the key ring"
    sealing = {"SIGNAL_BROKER_SECRET_KEYS": SECRET_KEY, "SIGNAL_BROKER_EGRESS_ALLOW": "127.0.0.0/8"}
    assert (await operator.ask("subscribe", name, "--webhook", NOWHERE, **sealing))["secret"].startswith("whsec_")


# What goes wrong


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (web.Response(status=404, text="<html>"), "with 404 Not Found: that is no signal-broker; is the URL right?"),
        (web.json_response({"detail": "Not Found"}, status=404), "that is no signal-broker; is the URL right?"),
        (web.Response(text="<html>"), "that is no signal-broker; is the URL right?"),
        (web.json_response({"a": 1}), "answered with no list of signal-broker; is the URL right?"),
        (web.json_response([]), "that is no signal-broker; is the URL right?"),
        (
            web.Response(status=502, text="<html>"),
            "a proxy does not reach the signal-broker behind it; try again in a moment",
        ),
        (web.Response(status=301, headers={"Location": "https://s.example/"}), "redirects to https://s.example/: use"),
    ],
    ids=["html", "another-api", "page", "another-answer", "array", "proxy", "redirect"],
)
async def test_what_is_no_signal_broker_is_told_from_one(stranger, answer, told):
    async def reply(_request):
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async with other_server(reply) as url:
        line = await stranger.refusal("signals", "list", "--url", url, "--token", "sb_x")
    assert line.startswith(url)
    assert told in line


async def test_what_cannot_be_reached_or_trusted_is_told(stranger, tmp_path):
    which = ("--token", "sb_x", "signals", "list", "--url")
    assert await stranger.refusal(*which, "http://127.0.0.1:1") == (
        "http://127.0.0.1:1 cannot be reached: connection refused; does it run there?"
    )
    assert "its host has no address; is the URL right?" in await stranger.refusal(*which, "http://nowhere.invalid")

    async def nothing(_request):
        return web.json_response({"items": [], "next": None})

    authority = Authority(tmp_path)
    async with other_server(nothing, tls=authority.serving("127.0.0.1")) as url:
        assert "has a certificate that is not trusted: " in await stranger.refusal(*which, url)
        assert (await stranger.call(*which, url, SSL_CERT_FILE=str(authority.pem))).returncode == 0
    async with other_server(nothing) as url:
        assert "does not speak TLS as it should" in await stranger.refusal(*which, url.replace("http:", "https:"))

    async def hang_up(request):
        request.transport.abort()
        await asyncio.sleep(0)

    async with other_server(hang_up) as url:
        assert "broke off the connection" in await stranger.refusal(*which, url)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", "http://me:pw@x", "http://x/?a=b"])
async def test_what_is_no_url_is_refused_before_anything_is_sent(stranger, url):
    done = await stranger.call("--url", url, "ledger")
    assert (done.returncode, done.stdout) == (2, "")
    assert "URL of a signal-broker" in done.stderr


async def test_a_token_alone_is_for_no_product(stranger):
    done = await stranger.call("--token", "sb_x", "ledger")
    assert (done.returncode, "--token needs a --url" in done.stderr) == (2, True)


async def test_a_command_that_opens_the_store_itself_takes_no_url(stranger):
    done = await stranger.call("--url", "http://127.0.0.1:1", "recover")
    assert (done.returncode, "--url does not go with `recover`" in done.stderr) == (2, True)


async def test_credentials_that_do_not_suffice_are_told(laptop, client, name):
    assert "does not accept the token" in await laptop.refusal("ledger", "--token", "sb_wrong")
    tenant = fresh_id("tenant")
    limited = await token_of(client, "signals:throw", "signals:read", names=[f"{name}.#"], tenants=[tenant])
    own = {"SIGNAL_BROKER_TOKEN": limited}
    mine = await laptop.ask("throw", f"{name}.a", "--tenant", tenant, **own)
    other = await throw(client, f"{name}.a", tenantId=fresh_id("tenant"))
    await recorded(client, other["id"])
    await recorded(client, mine["id"])
    assert [item["id"] for item in await laptop.ask("signals", "list", **own)] == [mine["id"]]
    assert "there is no recorded signal" in (await laptop.refusal("signals", "show", str(other["id"]), **own)).lower()
    assert await laptop.refusal("throw", "other", **own) == (
        "this needs the permission signals:throw for signals named 'other', which 'laptop' does not have;"
        " use a token that has it: `signal-broker token create` makes one, `signal-broker login` stores it"
    )
    assert "needs the permission admin" in await laptop.refusal("token", "list", **own)


async def test_fields_that_are_wrong_are_named(laptop, name):
    wrong = await laptop.refusal("subscribe", name, "--webhook", "ftp://x", "--max-in-flight", "0")
    assert wrong.startswith("/target/url: ") or "/maxInFlight: " in wrong
    assert (await laptop.refusal("signals", "list", "--since", "soon")).startswith("?since: must be a date and time")
    assert (await laptop.refusal("endpoint", "create", "Not A Name")).startswith("/name: ")
