"""docs/unleash.md from top to bottom: every command is pasted as it stands, every configuration is used as it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import endpoint, recorded

ROOT = Path(__file__).parents[2]
BLOCKS = {
    label: text
    for _, label, text in re.findall(
        r"^```(sh|yaml) (\w+)\n(.*?)^```", (ROOT / "docs" / "unleash.md").read_text(), re.MULTILINE | re.DOTALL
    )
}

ALERTS = {
    "version": "4",
    "groupKey": '{}:{alertname="HighLoad"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "signal-broker",
    "groupLabels": {"alertname": "HighLoad"},
    "commonLabels": {"alertname": "HighLoad", "severity": "critical"},
    "commonAnnotations": {"summary": "load is high"},
    "externalURL": "http://alertmanager:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "HighLoad", "instance": "web-1", "severity": "critical"},
            "annotations": {"summary": "load is high"},
            "startsAt": "2026-01-31T12:00:00.123Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph?g0.expr=node_load1+%3E+9",
            "fingerprint": "0123456789abcdef",
        }
    ],
}
"""What Alertmanager posts; Grafana's is of the same shape, with more members."""


@pytest.fixture
def paste(product, webhooks, tmp_path, name):
    """Return a function that pastes a block into a shell, meant for an endpoint of this test's own."""
    shown = {"alerts": name.replace(".", "-"), "TOKEN=sb_...": f"TOKEN={ADMIN_TOKEN}"}
    shown |= {"http://127.0.0.1:8080": product.url, "127.0.0.1:8080": product.url.removeprefix("http://")}
    shown |= {"http://127.0.0.1:9000/": webhooks.url("/")}
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SIGNAL_BROKER_")}
    settings = {f"SIGNAL_BROKER_{key}": value for key, value in product.environment.items()}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def text(label, documented):
        block = BLOCKS[label]
        for old, new in (documented | shown).items():
            block = block.replace(old, new)
        return block

    def paste(label, **documented):
        token = {"SIGNAL_TOKEN": documented.get("signal_...", "")}
        done = subprocess.run(
            ["bash", "-e", "-c", text(label, documented)],
            cwd=ROOT,
            env={**inherited, **settings, "PATH": path, "HOME": str(tmp_path), **token},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done
        return done.stdout

    paste.text, paste.name = text, shown["alerts"]
    return paste


def documents(output):
    """Return the JSON documents that several commands printed one after another."""
    decoder, found = json.JSONDecoder(), []
    while output := output.strip():
        document, end = decoder.raw_decode(output)
        found.append(document)
        output = output[end:]
    return found


@pytest.mark.slow
async def test_the_walk_goes_as_described(client, webhooks, paste):
    [value] = re.findall(r"signal_[\w-]{43}", paste("create"))
    [subscription] = documents(paste("subscribe"))

    [called] = documents(paste("call", **{"signal_...": value}))

    [signal] = called["signals"]
    assert signal["payload"] == {"type": "load", "data": {"cpu": 92}}
    [delivered] = await eventually(lambda: webhooks.requests)
    webhook = json.loads(delivered.body)
    assert webhook["deliveryId"] == f"{signal['id']}-{subscription['id']}"
    assert webhook["payload"] == signal["payload"]
    await recorded(client, signal["id"])
    unleashs, ours = documents(paste("look"))
    assert [(one["id"], one["tokenName"], one["sourceName"]) for one in unleashs["signals"]] == [
        (signal["id"], "monitoring", paste.name)
    ]
    assert [(one["id"], one["source"]) for one in ours["items"]] == [(signal["id"], "signal-endpoint")]


async def test_an_endpoint_and_its_token_are_made_over_http(client, paste):
    made, _ = await endpoint(client)
    follows = str(made["id"] + 1)

    created, token = documents(paste("api", **{"endpoints/1/": f"endpoints/{follows}/"}))

    assert (created["name"], str(created["id"])) == (paste.name, follows)
    assert (token["name"], token["signalEndpointId"]) == ("monitoring", created["id"])
    assert re.fullmatch(r"signal_[\w-]{43}", token["token"])


@pytest.mark.slow
async def test_every_sender_reaches_its_endpoint(client, paste):
    _, value = await endpoint(client, paste.name)
    token = {"signal_...": value}

    paste("httpie", **token)
    paste("apprise", **token)
    alertmanager = yaml.safe_load(paste.text("alertmanager", token))
    [webhook] = alertmanager["receivers"][0]["webhook_configs"]
    authorization = webhook["http_config"]["authorization"]
    await post(client, webhook["url"], f"{authorization['type']} {authorization['credentials']}")
    grafana = yaml.safe_load(paste.text("grafana", token))
    settings = grafana["contactPoints"][0]["receivers"][0]["settings"]
    scheme, credentials = settings["authorization_scheme"], settings["authorization_credentials"]
    await post(client, settings["url"], f"{scheme} {credentials}")

    async def payloads():
        page = await client.get(f"/v1/signals?name={paste.name}")
        return [one["payload"] for one in page["items"]] if len(page["items"]) == 4 else None

    httpie, apprise, *alerts = await eventually(payloads)
    assert httpie == {"cpu": 92}
    assert (apprise["title"], apprise["message"]) == ("CPU is busy", "92 %")
    assert alerts == [ALERTS, ALERTS]


async def post(client, url, authorization):
    """Post as Alertmanager and Grafana do."""
    status, _, answer = await client.request(
        "POST", url.removeprefix(client.url), json=ALERTS, headers={"Authorization": authorization}
    )
    assert status == 200, answer


def test_no_block_is_left_out():
    assert set(BLOCKS) == {"create", "api", "subscribe", "call", "look", "httpie", "apprise", "alertmanager", "grafana"}
