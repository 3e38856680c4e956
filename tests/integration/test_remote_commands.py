"""The command line over HTTP: a URL and a token are all that it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from rich.cells import cell_len
from standardwebhooks import Webhook

from broker.secrets import make_secret
from deploy.cli.main import main
from tests.support.commands import Command
from tests.support.eventually import eventually
from tests.support.leasing import Puller
from tests.support.receiver import Answer, receiver
from tests.support.remote import token_of
from tests.support.throwing import NOWHERE, fresh_id, recorded, recorded_ids, subscribe, throw

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


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


async def test_a_part_of_a_webhook_is_changed_and_the_rest_stays(laptop, client, webhooks, name):
    headers = {"Authorization": "Bearer old", "X-Team": "claims"}
    url = webhooks.answer("/hook", Answer())
    target = {"kind": "webhook", "url": url, "headers": headers, "method": "PUT", "signatures": ["v1", "v1a"]}
    made = await client.post("/v1/subscriptions", {"name": name, "target": target})
    edit = ("subscriptions", "edit", str(made["id"]))
    edited = await laptop.ask(*edit, "--header", "authorization=Bearer new", "--header", "X-More=1", "--timeout", "7")
    shown = {"X-Team": "claims", "authorization": "***", "X-More": "1"}
    target |= {"format": "standard", "requestOrigin": None}
    assert edited["target"] == {**target, "headers": shown, "bodyTemplate": None}
    assert edited["timeoutSeconds"] == 7
    edited = await laptop.ask(*edit, "--body-template", "{{name}}", "--method", "POST", "--signature", "v1")
    expected = {**target, "headers": shown, "bodyTemplate": "{{name}}", "method": "POST", "signatures": ["v1"]}
    assert edited["target"] == expected
    await laptop.ask("subscriptions", "test", str(made["id"]))
    received = webhooks.requests[-1].headers
    assert (received["Authorization"], received["X-Team"]) == ("Bearer new", "claims")


@pytest.mark.parametrize("target", [("--queue", "q"), ("--pull",), ("--steps", "-")], ids=lambda target: target[0])
async def test_a_part_of_a_webhook_goes_with_a_webhook(laptop, name, target):
    steps = json.dumps([{"target": {"kind": "webhook", "url": NOWHERE}}] * 2)
    made = json.loads((await laptop.call("subscribe", name, *target, "--json", given=steps)).stdout)
    done = await laptop.call("subscriptions", "edit", str(made["id"]), "--method", "PUT")
    assert (done.returncode, "go with --webhook" in done.stderr) == (2, True)


async def test_deliveries_that_are_leased_are_shown_with_their_workers(laptop, client, name):
    puller = Puller(client, name)
    made = await laptop.ask("subscribe", name, "--pull")
    assert made["target"] == {"kind": "pull"}
    puller.subscription_id = made["id"]
    await puller.throw()
    leased = await puller.lease_one(worker="billing-1")
    await puller.settle("fail", leased)
    shown = (await laptop.call("deliveries", "show", leased["deliveryId"])).stdout
    assert "billing-1" in shown
    assert "pull" in (await laptop.call("subscriptions", "show", str(made["id"]))).stdout
    refused = await laptop.call("subscribe", name, "--pull", "--queue", "q")
    assert (refused.returncode, "give one of --webhook, --queue, --pull and --steps" in refused.stderr) == (2, True)


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
        ("events",),
    ],
    ids=" ".join,
)
async def test_tables_fit_a_terminal(laptop, client, name, command):
    tenant = f"{fresh_id('tenant')}漢字"
    url = f"http://127.0.0.1:9/{'x' * 1500}"
    await subscribe(client, f"{name}.#", url, tenantId=tenant, description="नमस्ते 🎉 a note for people " * 10)
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


def test_bash_completes_with_that_script():
    script = (
        "source <(signal-broker completion bash); COMP_WORDS=(signal-broker subscriptions pa); COMP_CWORD=2;"
        ' _signal_broker_completion signal-broker; echo "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "pause\n"


def test_commands_and_their_options_are_completed():
    completion = ShellComplete(main, {}, "signal-broker", "_SIGNAL_BROKER_COMPLETE")
    assert [one.value for one in completion.get_completions(["subscriptions"], "pa")] == ["pause"]
    assert [one.value for one in completion.get_completions(["deliveries", "list", "--state"], "pa")] == ["parked"]


async def test_a_subscription_is_tested(laptop, client, webhooks, name):
    url = webhooks.answer("/hook", Answer(status=204), Answer(status=401, body=b"bad signature"))
    made = await subscribe(client, name, url)
    good = await laptop.ask("subscriptions", "test", str(made["id"]), "--payload", '{"order": 7}')
    assert (good["outcome"], json.loads(webhooks.requests[0].body)["payload"]) == ("succeeded", {"order": 7})
    bad = await laptop.call("subscriptions", "test", str(made["id"]))
    assert bad.returncode == 1
    assert "HTTP 401 Unauthorized" in bad.stdout
    assert "bad signature" in bad.stdout
    wrong = await laptop.call("subscriptions", "test", str(made["id"]), "--payload", "{")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)


async def test_signals_are_received_on_the_laptop_and_passed_on_with_valid_signatures(
    laptop, client, webhooks, name, tmp_path
):
    url = webhooks.answer("/hook", Answer(status=204), Answer(status=500))
    thrown = [await throw(client, f"{name}.{number}", payload={"n": number}) for number in range(2)]
    await recorded(client, thrown[1]["id"])
    secret = make_secret()
    following = ("listen", f"{name}.#", "--since-id", "0", "--count", "2", "--forward", url)
    done = await laptop.call(*following, "--secret", secret)
    assert (done.returncode, done.stderr) == (0, "")
    for request in webhooks.requests:
        told = Webhook(secret).verify(request.body, dict(request.headers))
        assert told == await client.get(f"/v1/signals/{told['id']}")
        assert request.headers["webhook-id"] == f"listen-{told['id']}"
        (tmp_path / "body").write_bytes(request.body)
        (tmp_path / "headers").write_text("".join(f"{name}: {value}\n" for name, value in request.headers.items()))
        received = ("--headers", str(tmp_path / "headers"), str(tmp_path / "body"))
        assert (await laptop.call("verify", "--secret", secret, *received)).returncode == 0
        assert (await laptop.call("verify", "--secret", make_secret(), *received)).returncode == 1
    assert [line.split()[-1] for line in done.stdout.splitlines() if "->" in line] == ["204", "500"]
    lines = [
        json.loads(line) for line in (await laptop.call(*following, "--secret", secret, "--json")).stdout.splitlines()
    ]
    shown = [line["id"] for line in lines[::2]]
    assert sorted(shown) == sorted(one["id"] for one in thrown)
    assert lines[1::2] == [{"forwarded": one, "result": "500"} for one in shown]
    made = await laptop.call(*following)
    assert made.stderr.startswith("signing with whsec_")
    bad = await laptop.call(*following, "--secret", "whsec_!")
    assert bad.returncode == 2
    nobody = await laptop.call("listen", f"{name}.#", "--since-id", "0", "--count", "1", "--forward", NOWHERE)
    assert "-> Cannot connect" in nobody.stdout
