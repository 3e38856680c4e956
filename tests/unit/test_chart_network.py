"""The network policies of deploy/chart: which pods may be reached by whom, and what they may reach."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.helm import Manifest, is_hook, needs_helm, of_kind, render

pytestmark = needs_helm

PUBLIC = [
    {
        "ipBlock": {
            "cidr": "0.0.0.0/0",
            "except": [
                "10.0.0.0/8",
                "100.64.0.0/10",
                "127.0.0.0/8",
                "169.254.0.0/16",
                "172.16.0.0/12",
                "192.168.0.0/16",
            ],
        }
    },
    {"ipBlock": {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]}},
]
URLS = {"SIGNAL_BROKER_TRANSPORT_URL": "amqp://a:b@rabbitmq/", "SIGNAL_BROKER_STORE_URL": "postgresql://a:b@db/s"}
PROXY = {"ports": [{"protocol": "TCP", "port": 3128}]}


def selects(policy: Manifest, component: str) -> bool:
    """Return whether *policy* is one of the pods of *component*."""
    selector = policy["spec"]["podSelector"]
    named = selector["matchLabels"].get("app.kubernetes.io/component", component)
    listed = [one["values"] for one in selector.get("matchExpressions", [])]
    return named == component and all(component in values for values in listed)


def egress(values: Manifest, component: str, *, hooks: bool = False) -> list[Manifest]:
    """Return what pods of *component* may reach, by the policies that are hooks or by those that are not."""
    policies = [d for d in of_kind(render(values=values), "NetworkPolicy") if is_hook(d) == hooks]
    return [rule for d in policies if selects(d, component) for rule in d["spec"]["egress"]]


def ports(rules: list[Manifest]) -> list[Any]:
    return [[port["port"] for port in rule["ports"]] for rule in rules]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"SIGNAL_BROKER_OIDC_ISSUER": "https://login.example/realms/shop"}, [443]),
        ({"SIGNAL_BROKER_OIDC_ISSUER": "https://login.example:8443"}, [8443]),
        ({"SIGNAL_BROKER_OIDC_ISSUER": "http://[2001:db8::1]/"}, [80]),
        (
            {
                "SIGNAL_BROKER_OIDC_ISSUER": "https://login.example/",
                "SIGNAL_BROKER_OIDC_JWKS_URL": "https://[2001:db8::1]:8443/keys",
            },
            [443, 8443],
        ),
    ],
)
def test_gateways_reach_the_issuer_of_tokens_where_deliverers_reach_webhooks(
    settings: dict[str, str], expected: list[int]
):
    (rule,) = [rule for rule in egress({"settings": settings}, "gateway") if "to" in rule]
    assert rule == {"to": PUBLIC, "ports": [{"protocol": "TCP", "port": port} for port in expected]}
    assert [rule for rule in egress({"settings": settings}, "recorder") if "to" in rule] == []


@pytest.mark.slow
def test_gateways_reach_keys_of_which_the_url_is_a_secret():
    url = "https://keys.example:8443/a-secret-path"
    values = {"existingSecret": "", "secrets": URLS | {"SIGNAL_BROKER_OIDC_JWKS_URL": url}}
    (rule,) = [rule for rule in egress(values, "gateway") if "to" in rule]
    assert ports([rule]) == [[8443]]


@pytest.mark.slow
def test_gateways_reach_no_public_address_without_an_issuer():
    assert [rule for rule in egress({}, "gateway") if "to" in rule] == []
    (rule,) = [rule for rule in egress({}, "deliverer") if "to" in rule]
    assert rule == {"to": PUBLIC, "ports": [{"protocol": "TCP", "port": 1, "endPort": 65535}]}


@pytest.mark.slow
@pytest.mark.parametrize("process", ["gateway", "recorder", "deliverer", "scheduler", "handlers"])
def test_rules_of_a_process_are_for_its_pods_alone(process: str):
    values = {"handlers": {"apps": {"billing": {"app": "a:b"}, "ledger": {"app": "c:d"}}}}
    components = ["gateway", "recorder", "deliverer", "scheduler", "handlers-billing", "handlers-ledger"]
    values |= {process: values.get(process, {}) | {"extraEgress": [PROXY]}}
    reached = {component for component in components if PROXY in egress(values, component)}
    assert reached == {component for component in components if component.startswith(process)}


@pytest.mark.slow
def test_jobs_reach_the_servers_of_the_new_values_before_an_upgrade_has_changed_the_other_policies():
    values = {"networkPolicy": {"postgresqlPorts": [6432], "extraEgress": [PROXY]}}
    for step in ("migrate", "topology"):
        rules = egress(values, step, hooks=True)
        assert ports(rules) == [[53, 53, 5353, 5353], [5672, 5671, 15672, 15671], [6432], [3128]]
    assert egress(values, "gateway", hooks=True) == []
    assert egress({"networkPolicy": {"enabled": False}}, "migrate", hooks=True) == []


@pytest.mark.slow
def test_servers_are_reached_anywhere_or_where_they_are_said_to_be():
    anywhere = egress({}, "recorder")
    assert [rule.get("to") for rule in anywhere] == [None, None, None]
    rabbitmq = [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "rabbitmq"}}}]
    postgresql = [{"ipBlock": {"cidr": "192.0.2.7/32"}}]
    there = {"networkPolicy": {"rabbitmqTo": rabbitmq, "postgresqlTo": postgresql}}
    assert [rule.get("to") for rule in egress(there, "recorder")] == [None, rabbitmq, postgresql]
    assert [rule.get("to") for rule in egress(there, "migrate", hooks=True)] == [None, rabbitmq, postgresql]
