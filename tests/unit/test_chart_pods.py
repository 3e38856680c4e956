"""What pods of deploy/chart have where values meet: those of several apps, those of others, and none at all."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from broker.errors import ConfigurationError
from broker.settings import PREFIX
from tests.support.deployment import settings_in
from tests.support.helm import CHART, helm, is_hook, manifests, needs_helm, of_kind, processes, render

pytestmark = needs_helm

_URLS = {f"{PREFIX}TRANSPORT_URL": "amqp://a:b@rabbitmq/", f"{PREFIX}STORE_URL": "postgresql://a:b@postgres/signals"}
"""What of a Secret a process cannot do without."""


@pytest.mark.slow
def test_each_app_of_handlers_is_spread_by_itself():
    constraint = {"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    apps = {"billing": {"app": "a:b"}, "ledger": {"app": "c:d"}}
    pods = processes(render(values={"handlers": {"apps": apps, "pod": {"topologySpreadConstraints": [constraint]}}}))
    for component in ("handlers-billing", "handlers-ledger"):
        (spread,) = pods[component]["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == component


def test_annotations_of_pods_win_over_those_for_prometheus():
    given = {"prometheus.io/scrape": "false", "checksum/settings": "mine"}
    printed = helm(
        "template",
        "x",
        CHART,
        "--show-only",
        "templates/processes.yaml",
        values={"existingSecret": "any"} | {"pod": {"annotations": given}},
    )
    assert printed.count("prometheus.io/scrape") == printed.count("kind: Deployment")
    for pod in processes(list(yaml.safe_load_all(printed))).values():
        annotations = pod["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "false"
        assert annotations["prometheus.io/port"] == "9090"
        assert annotations["checksum/settings"] != "mine"


@pytest.mark.slow
def test_no_ports_are_not_all_ports():
    none: dict[str, list[int]] = {"dnsPorts": [], "rabbitmqPorts": [], "postgresqlPorts": []}
    for left, egress in (({}, None), ({"dnsPorts": [53]}, 1), ({"postgresqlPorts": [5432]}, 1)):
        (policy, *_) = of_kind(render(values={"networkPolicy": none | left}), "NetworkPolicy")
        rules = policy["spec"]["egress"]
        assert rules is None if egress is None else [bool(rule["ports"]) for rule in rules] == [True] * egress


@pytest.mark.slow
def test_a_secret_without_a_url_ends_the_process_instead_of_embedding_what_it_names(monkeypatch: pytest.MonkeyPatch):
    (config,) = [d for d in of_kind(manifests("existing-secret"), "ConfigMap") if not is_hook(d)]
    for missing in _URLS:
        given = {name: url for name, url in _URLS.items() if name != missing}
        with pytest.raises(ConfigurationError, match=f"^{missing}: must be"):
            settings_in(config["data"] | given, monkeypatch)


def spread_of(values: dict[str, Any]) -> set[str]:
    pods = processes(render(values=values)).values()
    return {each["nodeTaintsPolicy"] for pod in pods for each in pod["spec"]["topologySpreadConstraints"]}


@pytest.mark.slow
def test_nodes_that_pods_may_not_use_are_no_domains_to_spread_over():
    assert spread_of({}) == {"Honor"}
    constraint = {"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    assert spread_of({"pod": {"topologySpreadConstraints": [constraint]}}) == {"Honor"}
    ignoring = constraint | {"nodeTaintsPolicy": "Ignore"}
    assert spread_of({"pod": {"topologySpreadConstraints": [ignoring]}}) == {"Ignore"}


@pytest.mark.slow
def test_a_variable_is_there_once_with_the_value_of_the_most_specific_place():
    """Helm 4 applies server-side, which refuses a name that is in the list twice."""
    values = {
        "archive": {"enabled": True},
        "tracing": {"OTEL_SERVICE_NAME": "of the tracing"},
        "pod": {
            "extraEnv": [
                {"name": "FIRST", "value": "1"},
                {"name": "POD_NAME", "value": "of all pods"},
                {"name": "OTEL_SERVICE_NAME", "value": "of all pods"},
            ]
        },
        "gateway": {"pod": {"extraEnv": [{"name": "POD_NAME", "value": "of gateways"}]}},
        "scheduler": {
            "pod": {
                "extraEnv": [
                    {"name": f"{PREFIX}ARCHIVE_DIR", "value": "/archive/signals"},
                    {"name": "SECOND", "value": "1"},
                    {"name": "SECOND", "value": "2"},
                ]
            }
        },
    }
    environments = {
        name: [(one["name"], one.get("value")) for one in pod["spec"]["containers"][0]["env"]]
        for name, pod in processes(render(values=values)).items()
    }
    attributes = ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=$(POD_NAME)")
    assert environments["gateway"] == [
        ("POD_NAME", "of gateways"),
        attributes,
        ("OTEL_SERVICE_NAME", "of the tracing"),
    ]
    assert environments["recorder"] == [
        ("POD_NAME", "of all pods"),
        attributes,
        ("OTEL_SERVICE_NAME", "of all pods"),
        ("FIRST", "1"),
    ]
    assert environments["scheduler"] == [
        (f"{PREFIX}ARCHIVE_DIR", "/archive/signals"),
        ("POD_NAME", None),
        attributes,
        ("OTEL_SERVICE_NAME", "of the tracing"),
        ("SECOND", "2"),
    ]


def budgets(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    budgets = of_kind(render(values=values), "PodDisruptionBudget")
    return {
        budget["metadata"]["name"].removeprefix("signal-broker-"): {
            name: value for name, value in budget["spec"].items() if name != "selector"
        }
        for budget in budgets
    }


@pytest.mark.slow
def test_a_node_can_be_drained_of_pods_that_are_not_ready():
    by_default = {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    assert budgets({"recorder": {"disruptionBudget": {"unhealthyPodEvictionPolicy": "IfHealthyBudget"}}}) == {
        "gateway": by_default,
        "recorder": {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "IfHealthyBudget"},
        "deliverer": by_default,
        "scheduler": by_default,
    }


@pytest.mark.slow
def test_how_many_pods_must_stay_replaces_how_many_may_go():
    budget = budgets({"gateway": {"disruptionBudget": {"minAvailable": 2}}})["gateway"]
    assert budget == {"minAvailable": 2, "unhealthyPodEvictionPolicy": "AlwaysAllow"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({}, "registry.example/signals:9"),
        ({"tag": "7"}, "registry.example/signals:7"),
        ({"digest": f"sha256:{'1' * 64}"}, f"registry.example/signals@sha256:{'1' * 64}"),
        ({"repository": "registry.example/shop", "tag": "7"}, "registry.example/shop:7"),
    ],
)
def test_the_image_of_handlers_is_in_the_repository_of_the_product_unless_it_names_another(
    image: dict[str, str], name: str
):
    handlers = {"apps": {"billing": {"app": "a:b"}}, "image": image}
    documents = render(values={"image": {"repository": "registry.example/signals", "tag": "9"}, "handlers": handlers})
    (container,) = processes(documents)["handlers-billing"]["spec"]["containers"]
    assert container["image"] == name
