"""What pods of deploy/chart have where values meet: those of several apps, those of others, and none at all."""

from __future__ import annotations

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
        (policy, _) = of_kind(render(values={"networkPolicy": none | left}), "NetworkPolicy")
        rules = policy["spec"]["egress"]
        assert rules is None if egress is None else [bool(rule["ports"]) for rule in rules] == [True] * egress


@pytest.mark.slow
def test_a_secret_without_a_url_ends_the_process_instead_of_embedding_what_it_names(monkeypatch: pytest.MonkeyPatch):
    (config,) = [d for d in of_kind(manifests("existing-secret"), "ConfigMap") if not is_hook(d)]
    for missing in _URLS:
        given = {name: url for name, url in _URLS.items() if name != missing}
        with pytest.raises(ConfigurationError, match=f"^{missing}: must be"):
            settings_in(config["data"] | given, monkeypatch)
