"""The chart refuses settings that no process starts with, and memory limits that are too small for them."""

from __future__ import annotations

import json
import re

import pytest

from broker.settings import PREFIX, Settings
from tests.support.helm import CHART, HelmFailed, Manifest, containers, is_hook, needs_helm, of_kind, render

pytestmark = needs_helm

VOLUME = {"extraVolumeMounts": [{"name": "mine", "mountPath": "/mine"}], "extraVolumes": [{"name": "mine"}]}


def variable(name: str, value: str) -> Manifest:
    return {"extraEnv": [{"name": f"{PREFIX}{name}", "value": value}]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"settings": {"SIGNAL_BROKER_LOG_LEVEL": "xml"}}, "value must be one of 'debug', 'info', 'warning', 'error'"),
        (
            {"settings": {"SIGNAL_BROKER_RETENTION_DAYS": "forever"}},
            "RETENTION_DAYS': 'forever' does not match pattern",
        ),
        ({"settings": {"SIGNAL_BROKER_STORE_POOL_SIZE": 5}}, "STORE_POOL_SIZE': minimum: got 5, want 10"),
        ({"settings": {"SIGNAL_BROKER_MAX_BODY_BYTES": 100_000_000}}, "MAX_BODY_BYTES': maximum: got "),
        ({"settings": {"SIGNAL_BROKER_WEBHOOK_CONCURRENCY": 0.5}}, "WEBHOOK_CONCURRENCY': got number, want "),
        (
            {"settings": {"SIGNAL_BROKER_MAX_BODY_BYTES": 15 << 20}},
            "limits.memory is 320Mi: with settings.SIGNAL_BROKER_MAX_BODY_BYTES of 15728640, it must be 676Mi at least",
        ),
        (
            {
                "settings": {"SIGNAL_BROKER_MAX_BODY_BYTES": "4194304"},
                "gateway": {"resources": {"limits": {"memory": "0.4Gi"}}},
            },
            "recorder.resources.limits.memory is 320Mi",
        ),
        (
            {"gateway": {"pod": variable("MAX_BODY_BYTES", "4194304")}},
            "extraEnv has SIGNAL_BROKER_MAX_BODY_BYTES, which memory limits follow: set settings.SIGNAL_BR",
        ),
        *(
            ({"settings": {"SIGNAL_BROKER_HTTP_HOST": host}}, f"SIGNAL_BROKER_HTTP_HOST is {host}, where n")
            for host in ("127.0.0.1", "127.1.2.3", "::1", "LocalHost")
        ),
        (
            {"recorder": {"pod": variable("HTTP_HOST", "localhost")}},
            "SIGNAL_BROKER_HTTP_HOST is localhost, where neither probes nor callers reach a pod: leave it empty",
        ),
        (
            {"settings": {"SIGNAL_BROKER_ARCHIVE_DIR": "/mine/archive"}},
            "SIGNAL_BROKER_ARCHIVE_DIR is /mine/archive, where schedulers have no volume: set archive.enabled",
        ),
        (
            {"archive": {"enabled": True}, "scheduler": {"pod": variable("ARCHIVE_DIR", "/archives")}},
            "SIGNAL_BROKER_ARCHIVE_DIR is /archives, where schedulers have no volume",
        ),
    ],
)
def test_a_setting_that_no_process_starts_with_is_named_and_refused(values: Manifest, message: str):
    with pytest.raises(HelmFailed, match=re.escape(message)):
        render(values=values)


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["676Mi", "1Gi", "0.71G", 800_000_000, None])
def test_a_process_with_room_for_large_bodies_is_accepted(memory: object):
    resources = {"resources": {"limits": {"memory": memory}}}
    values = {"settings": {"SIGNAL_BROKER_MAX_BODY_BYTES": 15 << 20}}
    assert render(values=values | dict.fromkeys(("gateway", "recorder", "deliverer"), resources))


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"SIGNAL_BROKER_HTTP_HOST": "0.0.0.0"}},
        {"settings": {"SIGNAL_BROKER_ARCHIVE_DIR": "/mine/archive"}, "scheduler": {"pod": VOLUME}},
        {"settings": {"SIGNAL_BROKER_ARCHIVE_DIR": "/mine"}, "pod": VOLUME},
        {"settings": {"SIGNAL_BROKER_ARCHIVE_DIR": ""}},
    ],
)
def test_an_address_that_is_reached_and_an_archive_on_a_volume_are_accepted(values: Manifest):
    assert render(values=values)


def from_secrets(*names: str) -> Manifest:
    """Return variables of which others made the Secrets."""
    return {
        "extraEnv": [
            {"name": f"{PREFIX}{name}", "valueFrom": {"secretKeyRef": {"name": "of-an-operator", "key": name.lower()}}}
            for name in names
        ]
    }


@pytest.mark.slow
def test_variables_from_the_secrets_of_operators_are_not_repeated_in_that_of_the_chart():
    given = from_secrets("TRANSPORT_URL", "STORE_URL", "SECRET_KEYS")
    documents = render(values={"existingSecret": "", "pod": given})
    for document in of_kind(documents, "Deployment", "Job"):
        (container,) = containers(document)
        assert container["env"] == given["extraEnv"]
    assert [d["data"] for d in of_kind(documents, "Secret") if not is_hook(d)] == [{}]


@pytest.mark.slow
@pytest.mark.parametrize("process", ["gateway", "scheduler", "jobs"])
def test_a_url_that_some_pods_would_not_get_is_missing(process: str):
    values: Manifest = {
        "existingSecret": "",
        "pod": from_secrets("TRANSPORT_URL", "STORE_URL"),
        process: {"pod": from_secrets("TRANSPORT_URL")},
    }
    pod = {"jobs": "migrate"}.get(process, process)
    message = (
        "secrets.SIGNAL_BROKER_STORE_URL is missing; set it, or existingSecret,"
        f" or have it in extraEnv of all pods ({pod} has none)"
    )
    with pytest.raises(HelmFailed, match=re.escape(message)):
        render(values=values)


def test_the_schema_allows_what_the_settings_allow():
    """Ports and the drain timeout are numbers alone, since others follow them."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["properties"]
    for name, field in Settings.model_json_schema()["properties"].items():
        known = schema.get(name if name.startswith(PREFIX) else f"{PREFIX}{name.upper()}", {})
        if isinstance(known.get("type"), str):
            continue
        if "enum" in field:
            assert known == {"enum": field["enum"]}
        elif field.get("type") in {"integer", "number"}:
            bounds = {"minimum", "exclusiveMinimum", "maximum"}
            assert {key: known[key] for key in known.keys() & bounds} == {
                key: field[key] for key in field.keys() & bounds
            }
            assert known["type"] == [field["type"], "string"]
