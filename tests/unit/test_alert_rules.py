"""deploy/alerts.yaml by Prometheus's own promtool: when each alert fires, and when it does not (alerts.yaml here)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployment import DEPLOY, ROOT
from tests.support.prometheus import PromtoolFailed, promtool

pytestmark = pytest.mark.usefixtures("prometheus_programs")

RULES = DEPLOY / "alerts.yaml"
TESTS = Path(__file__).with_name("alerts.yaml")
ALERTS = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]
}
GROUPS = yaml.safe_load(TESTS.read_text("utf-8"))["tests"]

every_alert = pytest.mark.parametrize("alert", ALERTS)


def test_prometheus_takes_the_rules():
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "rules", RULES)


def test_prometheus_takes_the_configuration_in_the_page_about_metrics(tmp_path: Path):
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    (configuration,) = re.findall(r"^```yaml prometheus\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(configuration)
    shutil.copy(RULES, tmp_path)
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "config", tmp_path / "prometheus.yml")


@pytest.mark.slow
def test_every_alert_fires_when_it_should_and_otherwise_does_not():
    assert "SUCCESS" in promtool("test", "rules", TESTS)


@every_alert
def test_an_alert_is_tested_while_it_fires_and_while_it_does_not(alert: str):
    tests = [test for group in groups_about(alert) for test in group["alert_rule_test"]]
    assert {bool(test["exp_alerts"]) for test in tests} == {True, False}


def groups_about(alert: str) -> list[dict[str, Any]]:
    return [group for group in GROUPS if {test["alertname"] for test in group["alert_rule_test"]} == {alert}]


def spoil(directory: Path, alert: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """Return the tests of *alert*, for a rule that was changed."""
    change(rule := deepcopy(ALERTS[alert]))
    rules = {"groups": [{"name": "spoilt", "rules": [rule]}]}
    (directory / "rules.yaml").write_text(json.dumps(rules))
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": groups_about(alert)}
    (directory / "tests.yaml").write_text(json.dumps(tests))
    return directory / "tests.yaml"


@every_alert
def test_an_alert_that_never_fires_is_noticed(alert: str, tmp_path: Path):
    tests = spoil(tmp_path, alert, lambda rule: rule.update(expr="vector(0) > 1"))
    with pytest.raises(PromtoolFailed, match=f"alertname: {alert}, "):
        promtool("test", "rules", tests)


@pytest.mark.parametrize("alert", [alert for alert, rule in ALERTS.items() if "for" in rule])
def test_an_alert_that_does_not_wait_is_noticed(alert: str, tmp_path: Path):
    tests = spoil(tmp_path, alert, lambda rule: rule.pop("for"))
    with pytest.raises(PromtoolFailed, match=f"alertname: {alert}, "):
        promtool("test", "rules", tests)
