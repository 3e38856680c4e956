"""deploy/alerts.yaml: the alerts ask for metrics that exist, and lead to a section of the runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import deploy
from broker import metrics

DEPLOY = Path(deploy.__file__).parent
RULES = [
    rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))["groups"] for rule in group["rules"]
]
SERIES = {sample.name for metric in metrics.REGISTRY.collect() for sample in metric.samples}
NAMES = {
    f"{metric.name}{suffix}"
    for metric in metrics.REGISTRY.collect()
    for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(metric.type, [""])
}

every_rule = pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])


def test_no_two_alerts_have_the_same_name():
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 10


@every_rule
def test_every_metric_of_an_alert_exists(rule):
    names = set(re.findall(r"\bsignal_broker_\w+", rule["expr"]))
    assert names
    assert names <= NAMES


@every_rule
def test_an_alert_names_only_labels_that_it_keeps(rule):
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    aggregated = re.search(r"\b(?:sum|max)\b", rule["expr"])
    kept = {label for labels in re.findall(r"by \(([\w, ]+)\)", rule["expr"]) for label in labels.split(", ")}
    kept |= set(re.findall(r'\babsent\(\w+\{(\w+)="', rule["expr"]))
    assert named <= kept | (set() if aggregated else {"instance"})


@every_rule
def test_every_alert_says_what_is_wrong_and_where_the_runbook_tells_more(rule):
    runbook = (DEPLOY / "runbook.md").read_text("utf-8")
    assert rule["annotations"]["summary"]
    assert re.search(rf"^\*\*{re.escape(rule['annotations']['runbook'])}\.?\*\*", runbook, re.MULTILINE)
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_counters_that_alerts_ask_for_are_there_before_the_first_event():
    """Without a series at 0, the first event would be no increase."""
    asked = {name for rule in RULES for name in re.findall(r"\b(signal_broker_\w+_total)\b", rule["expr"])}
    assert asked - {"signal_broker_deliveries_left_total"} <= SERIES
