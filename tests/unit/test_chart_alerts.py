"""The alerts as the chart makes them of deploy/alerts.yaml: each release has its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployment import DEPLOY
from tests.support.helm import CHART, Manifest, helm, needs_helm, of_kind
from tests.support.prometheus import promtool

pytestmark = [needs_helm, pytest.mark.usefixtures("prometheus_programs")]

ROLES = ("gateway", "recorder", "deliverer", "scheduler")
SECRETS = {
    "SIGNAL_BROKER_STORE_URL": "postgresql://broker@db/signals",
    "SIGNAL_BROKER_TRANSPORT_URL": "amqp://broker@mq/",
    "SIGNAL_BROKER_SECRET_KEYS": "q9qUnh2JOcBHJkGr4kFDVgZtA_Gt0jWkFRY9jN1K7o0=",
}


def rules_of(namespace: str, **prometheus: Any) -> Manifest:
    """Return the spec of the rules of a release in *namespace*."""
    values = {"secrets": SECRETS, "prometheus": {"rules": {"enabled": True}} | prometheus}
    text = helm("template", "signals", CHART, "--namespace", namespace, values=values)
    (rules,) = of_kind(list(filter(None, yaml.safe_load_all(text))), "PrometheusRule")
    spec: Manifest = rules["spec"]
    return spec


def expressions(spec: Manifest) -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for group in spec["groups"] for rule in group["rules"]}


def test_alerts_are_those_of_the_file_with_the_labels_of_the_release_in_each_selector():
    spec = rules_of("till")
    found = expressions(spec)
    plain = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))
    for alert, expression in expressions(plain).items():
        assert found[alert].count('namespace="till"') == expression.count("signal_broker_")
        assert found[alert].replace('{namespace="till"}', "").replace('namespace="till",', "") == expression
    for rule in (rule for group in spec["groups"] for rule in group["rules"]):
        assert rule["labels"].pop("namespace") == "till"
        rule["expr"] = expressions(plain)[rule["alert"]]
    assert spec == plain


@pytest.mark.parametrize(
    ("prometheus", "selector"),
    [
        ({"podMonitor": {"enabled": True}}, '{job="till/signals-signal-broker",namespace="till"}'),
        ({"serviceMonitor": {"enabled": True}}, '{job="signals-signal-broker-metrics",namespace="till"}'),
        ({"rules": {"enabled": True, "matchers": {"cluster": "eu"}}}, '{cluster="eu",namespace="till"}'),
        ({"rules": {"enabled": True, "matchers": {"namespace": "mine"}}}, '{namespace="mine"}'),
    ],
)
def test_they_select_what_the_monitor_of_the_release_names_and_what_else_is_asked_for(prometheus, selector):
    assert expressions(rules_of("till", **prometheus))["SignalBrokerSignalsLost"] == (
        f"max(signal_broker_signals_lost{selector}) > 0"
    )


@pytest.mark.slow
def test_of_two_products_neither_hides_what_is_wrong_with_the_other(tmp_path: Path):
    for namespace in ("shop", "till"):
        (tmp_path / f"{namespace}.yaml").write_text(yaml.safe_dump(rules_of(namespace)))
    series = {f'signal_broker_role{{namespace="shop", role="{role}"}}': "1x20" for role in ROLES}
    series |= {
        'signal_broker_role{namespace="till", role="gateway"}': "1x20",
        'signal_broker_books_kept_timestamp_seconds{namespace="shop"}': "0+60x20",
        'signal_broker_books_kept_timestamp_seconds{namespace="till"}': "0x20",
        'signal_broker_signals_lost{namespace="till"}': "3x20",
    }
    missing = [{"severity": "critical", "namespace": "till", "role": role} for role in ROLES[1:]]
    told = {
        "SignalBrokerRoleMissing": missing,
        "SignalBrokerBooksNotKept": [{"severity": "critical", "namespace": "till"}],
        "SignalBrokerSignalsLost": [{"severity": "critical", "namespace": "till"}],
    }
    summaries = {
        "SignalBrokerRoleMissing": "There is no {role}",
        "SignalBrokerBooksNotKept": "No scheduler keeps the books",
        "SignalBrokerSignalsLost": "3 accepted signals are lost",
    }
    runbook = {rule["alert"]: rule["annotations"]["runbook"] for rule in rules_of("shop")["groups"][0]["rules"]}
    tests = {
        "rule_files": ["shop.yaml", "till.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {
                        "eval_time": "10m",
                        "alertname": alert,
                        "exp_alerts": [
                            {
                                "exp_labels": labels,
                                "exp_annotations": {
                                    "summary": summaries[alert].format(**labels),
                                    "runbook": runbook[alert],
                                },
                            }
                            for labels in expected
                        ],
                    }
                    for alert, expected in told.items()
                ],
            }
        ],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "tests.yaml")
