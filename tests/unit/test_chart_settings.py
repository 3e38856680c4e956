"""The chart refuses settings that no process starts with, and memory limits that are too small for them."""

from __future__ import annotations

import json
import re

import pytest

from broker.settings import PREFIX, Settings
from tests.support.helm import CHART, HelmFailed, Manifest, render


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
