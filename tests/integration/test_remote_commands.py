"""The command line over HTTP: a URL and a token are all that it needs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat

import pytest
from aiohttp import web
from click.shell_completion import ShellComplete
from rich.cells import cell_len

from deploy.cli.main import main
from tests.support.certificates import Authority
from tests.support.commands import Command
from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN, SECRET_KEY
from tests.support.receiver import Answer, receiver
from tests.support.remote import Laptop
from tests.support.throwing import NOWHERE, fresh_id, recorded, recorded_ids, subscribe, throw

pytestmark = pytest.mark.timeout(180)
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def laptop(product, tmp_path):
    """Return the laptop of an administrator of the product."""
    return Laptop(tmp_path, URL=product.url, TOKEN=ADMIN_TOKEN)


@pytest.fixture
def stranger(tmp_path):
    """Return a laptop that knows no product."""
    return Laptop(tmp_path)


async def token_of(client, *permissions, **limits):
    """Return a new token."""
    document = {"name": "laptop", "permissions": list(permissions), **limits}
    return (await client.post("/v1/tokens", document))["token"]


# What a support person does


@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_signal_is_followed_to_its_receiver_and_sent_again(laptop, name):
    tenant = fresh_id("tenant")
    async with receiver() as target:
        url = target.answer("/hook", Answer(status=500, body=b"out of order"), Answer(status=204))
        made = await laptop.ask("subscribe", f"{name}.#", "--tenant", tenant, "--webhook", url, "--max-attempts", "1")
        thrown = await laptop.ask("throw", f"{name}.paid", "--tenant", tenant, "--payload", '{"cents": 1.50}')
        delivery = f"{thrown['id']}-{made['id']}"

        async def dead():
            return await laptop.ask("deliveries", "list", "--tenant", tenant, "--state", "dead", "--host", "127.0.0.1")

        (listed,) = await eventually(dead)
        assert (listed["id"], listed["lastStatus"], listed["signalName"]) == (delivery, 500, f"{name}.paid")
        shown = (await laptop.call("deliveries", "show", delivery)).stdout
        assert "out of order" in shown
        assert "state             dead\n" not in shown  # as wide as the longest member that is shown
        redriven = await laptop.ask("deliveries", "redrive", delivery)
        assert [one["id"] for one in redriven] == [delivery]
        await eventually(lambda: len(target.requests) == 2)
    found = await laptop.call("signals", "list", "--name", f"{name}.*", "--tenant", tenant, "--json")
    assert '"payload":{"cents": 1.50}' in found.stdout, "JSON is what the API answered, byte for byte"
    assert await laptop.ask("signals", "show", str(thrown["id"])) == json.loads(found.stdout)[0]
    (explained,) = await laptop.ask("explain", f"{name}.paid", "--tenant", tenant, "--matching")
    assert (explained["subscriptionId"], explained["matches"]) == (made["id"], True)


async def test_a_subscription_is_changed_paused_resumed_and_deleted(laptop, client, name):
    made = await subscribe(client, name, maxPerSecond=5)
    which = str(made["id"])
    edited = await laptop.ask("subscriptions", "edit", which, "--timeout", "7", "--unset", "maxPerSecond")
    assert (edited["timeoutSeconds"], edited["maxPerSecond"], edited["target"]["url"]) == (7, None, NOWHERE)
    assert (await laptop.ask("subscriptions", "edit", which, "--queue", "q"))["target"]["kind"] == "queue"
    assert "say what to change" in (await laptop.call("subscriptions", "edit", which)).stderr
    assert (await laptop.ask("subscriptions", "pause", which))["state"] == "paused"
    assert [one["id"] for one in await laptop.ask("subscriptions", "list", "--name", name, "--state", "paused")] == [
        made["id"]
    ]
    assert (await laptop.ask("subscriptions", "resume", which, "--per-second", "9"))["state"] == "active"
    assert await laptop.ask("subscriptions", "close-circuit", which) == {"id": made["id"], "circuit": "closed"}
    assert await laptop.ask("subscriptions", "delete", which) == {"deleted": made["id"]}
    assert await laptop.refusal("subscriptions", "show", which) == f"there is no subscription {which}"


async def test_a_list_has_all_pages_up_to_its_limit_and_says_that_there_are_more(laptop, client, name):
    await client.post("/v1/signals/batch", {"signals": [{"name": name, "payload": n} for n in range(1000)]})
    await client.post("/v1/signals/batch", {"signals": [{"name": name, "payload": n} for n in range(1000, 1100)]})
    ids = await recorded_ids_of_many(laptop, name, 1100)
    done = await laptop.call("signals", "list", "--name", name, "--limit", "1050", "--json")
    assert [item["id"] for item in json.loads(done.stdout)] == ids[:1050]
    assert done.stderr == "there are more than these 1050: see --limit and --all\n"
    oldest = await laptop.ask("signals", "list", "--name", name, "--all", "--oldest-first")
    assert [item["id"] for item in oldest] == ids[::-1]


async def recorded_ids_of_many(laptop, name, count):
    async def get():
        items = await laptop.ask("signals", "list", "--name", name, "--all")
        return [item["id"] for item in items] if len(items) == count else None

    return await eventually(get)


async def test_a_delivery_that_cannot_be_cancelled_leaves_the_ones_before_it_told(laptop, client, name):
    made = await subscribe(client, name, retry={"schedule": [600]})
    thrown = await throw(client, name)
    delivery = f"{thrown['id']}-{made['id']}"

    async def parked():
        return (await laptop.call("deliveries", "list", "--signal", str(thrown["id"]))).stdout.count("parked")

    await eventually(parked)
    done = await laptop.call("deliveries", "cancel", delivery, "999999-1")
    assert done.stdout.splitlines()[1].split()[:2] == [delivery, "cancelled"]
    assert (done.returncode, done.stderr) == (1, "Error: there is no delivery '999999-1'\n")


# Many signals


async def test_a_file_is_thrown_in_requests_that_fit_and_again_without_repeats(laptop, client, name, tmp_path):
    large = "x" * 600_000
    lines = [json.dumps({"name": name, "payload": text}) for text in (large, "a", large, large, "x" * 2_000_000)]
    (tmp_path / "signals").write_text("\ufeff" + "\n".join([*lines, "{", '{"name": 7}', lines[1]]))
    command = ("throw", "--batch", str(tmp_path / "signals"), "--idempotency-key", name, "--json")
    first = await laptop.call(*command)
    shown = json.loads(first.stdout)
    assert (shown["accepted"], shown["refused"], first.returncode) == (5, 3, 1)
    assert [line.split(":")[0] for line in first.stderr.splitlines()] == ["line 5", "line 6", "line 7", "Error"]
    assert "line 7: /name: " in first.stderr
    again = await laptop.call(*command)
    assert again.stdout == first.stdout
    assert len(await recorded_ids(client, name, 5)) == 5


async def test_ctrl_c_says_how_many_signals_were_accepted_and_how_to_go_on(laptop, client, name, tmp_path):
    (tmp_path / "signals").write_text(f'{{"name": "{name}"}}\n' * 100_000)
    with (tmp_path / "out").open("wb+") as out, (tmp_path / "err").open("wb+") as err:
        running = Command(
            *("throw", "--batch", str(tmp_path / "signals")),
            environment=laptop.environment,
            stdout=out.fileno(),
            stderr=err.fileno(),
        )
        await eventually(lambda: anything(client, name))
        running.send_signal(signal.SIGINT)
        assert await running.wait() == 1
    told = (tmp_path / "err").read_text()
    found = re.search(r"interrupted: (\d+) signals were accepted, up to line (\d+)\n", told)
    assert found is not None
    assert 0 < int(found[1]) == int(found[2]) < 100_000
    assert f"from line {int(found[2]) + 1} on" in told
    assert len(await recorded_ids_of_many(laptop, name, int(found[1]))) == int(found[1])


async def anything(client, name):
    return (await client.get(f"/v1/signals?name={name}&limit=1"))["items"]


async def test_a_long_redrive_goes_on_and_one_that_is_interrupted_says_where(stranger):
    asked = []

    async def answer(request):
        if request.method == "GET":
            return web.json_response({"items": [{"id": 20}], "next": "20"})
        asked.append(await request.json())
        match asked[-1]["after"]:
            case None:
                return web.json_response({"count": 2, "next": "5-1@2026-11-22T10:00:00.000Z"})
            case "5-1@2026-11-22T10:00:00.000Z":
                return web.json_response({"count": 3, "next": "9-1"})
            case "9-1":
                problem = {"title": "Busy", "status": 503, "detail": "The broker cannot take this now."}
                return web.json_response(problem, status=503, headers={"Retry-After": "7"})
            case _:
                return web.json_response({"count": 4, "next": None})

    async with server(answer) as url:
        which = ("redrive", "--all", "--per-second", "50", "--url", url, "--token", "sb_x")
        done = await stranger.call(*which)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "interrupted: 5 so far; to go on, repeat the command with --after 9-1\n"
            "Error: the broker cannot take this now; try again in 7 s\n"
        )
        assert await stranger.ask(*which, "--after", "9-2") == {"count": 4, "dryRun": False}
        assert "Redriving" in await stranger.show(*which)
    assert all(one["perSecond"] == 50 for one in asked)


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
    async with server(answer) as url:
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


def server(answer, *, tls=None):
    """Return a server that answers every request so; entering it yields its URL."""

    class Serving:
        async def __aenter__(self):
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", answer)
            self.runner = web.AppRunner(app)
            await self.runner.setup()
            site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            return f"{'https' if tls else 'http'}://127.0.0.1:{self.runner.addresses[0][1]}"

        async def __aexit__(self, *_):
            await self.runner.cleanup()

    return Serving()


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

    async with server(reply) as url:
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
    async with server(nothing, tls=authority.serving("127.0.0.1")) as url:
        assert "has a certificate that is not trusted: " in await stranger.refusal(*which, url)
        assert (await stranger.call(*which, url, SSL_CERT_FILE=str(authority.pem))).returncode == 0
    async with server(nothing) as url:
        assert "does not speak TLS as it should" in await stranger.refusal(*which, url.replace("http:", "https:"))

    async def hang_up(request):
        request.transport.abort()
        await asyncio.sleep(0)

    async with server(hang_up) as url:
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
        " use a token that has it"
    )
    assert "needs the permission admin" in await laptop.refusal("token", "list", **own)


async def test_fields_that_are_wrong_are_named(laptop, name):
    wrong = await laptop.refusal("subscribe", name, "--webhook", "ftp://x", "--max-in-flight", "0")
    assert wrong.startswith("/target/url: ") or "/maxInFlight: " in wrong
    assert (await laptop.refusal("signals", "list", "--since", "soon")).startswith("?since: must be a date and time")
    assert (await laptop.refusal("endpoint", "create", "Not A Name")).startswith("/name: ")


# In a terminal


@pytest.mark.parametrize(
    "command",
    [
        ("signals", "list"),
        ("deliveries", "list"),
        ("subscriptions", "list"),
        ("token", "list"),
        ("endpoint", "list"),
        ("user", "list"),
        ("quota", "list"),
        ("audit",),
    ],
    ids=" ".join,
)
async def test_tables_fit_a_terminal(laptop, client, name, command):
    tenant = fresh_id("tenant")
    await subscribe(client, f"{name}.#", tenantId=tenant, description="a note for people " * 10)
    thrown = await throw(client, f"{name}.a", tenantId=tenant, payload={"text": "word " * 100, "漢字": "\x1b[2J"})
    await recorded(client, thrown["id"])
    await token_of(client, "signals:throw", "signals:read", names=[f"{name}.#"], tenants=[tenant])
    await client.request("PUT", f"/v1/quotas/tenants/{tenant}", json={"throwsPerSecond": 1000})
    shown = [ANSI.sub("", line) for line in (await laptop.show(*command)).splitlines()]
    assert max(map(cell_len, shown)) <= 80
    assert all(line.isprintable() for line in shown)


async def test_a_wide_terminal_is_used(laptop, client, name):
    await recorded(client, (await throw(client, name, payload={"text": "word " * 100}))["id"])
    lines = [ANSI.sub("", line) for line in (await laptop.show("signals", "list", columns=300)).splitlines()]
    assert 250 < max(map(cell_len, lines)) <= 300


@pytest.mark.parametrize("command", [("signals", "list"), ("ledger",), ("token", "list"), ("--help",)], ids=" ".join)
async def test_no_color_means_none(laptop, client, name, command):
    await recorded(client, (await throw(client, name))["id"])
    assert "\x1b" not in await laptop.show(*command, NO_COLOR="1")


async def test_what_reads_only_the_beginning_ends_a_command_quietly(laptop, client, name, tmp_path):
    await client.post("/v1/signals/batch", {"signals": [{"name": name, "payload": "x" * 900} for _ in range(900)]})
    await recorded_ids_of_many(laptop, name, 900)
    ours, theirs = os.pipe()
    with (tmp_path / "err").open("wb+") as err:
        listing = Command(
            *("signals", "list", "--name", name, "--all", "--json"),
            environment=laptop.environment,
            stdout=theirs,
            stderr=err.fileno(),
        )
        os.close(theirs)
        assert os.read(ours, 10).startswith(b"[")
        os.close(ours)
        await listing.wait()
    assert (tmp_path / "err").read_text() == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_a_script_for_each_shell_is_printed(stranger, shell):
    assert "_SIGNAL_BROKER_COMPLETE" in (await stranger.call("completion", shell)).stdout


def test_commands_and_their_options_are_completed():
    completion = ShellComplete(main, {}, "signal-broker", "_SIGNAL_BROKER_COMPLETE")
    assert [one.value for one in completion.get_completions(["subscriptions"], "pa")] == ["pause"]
    assert [one.value for one in completion.get_completions(["deliveries", "list", "--state"], "pa")] == ["parked"]
