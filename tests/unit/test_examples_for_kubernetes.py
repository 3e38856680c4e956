"""deploy/examples: RabbitMQ and PostgreSQL by their operators, held against the definitions and against the chart."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from broker.settings import Settings
from tests.support.custom_resources import check_custom_resource
from tests.support.deployment import DEPLOY, settings_in
from tests.support.helm import CHART, Manifest

EXAMPLES = DEPLOY / "examples"


def documents(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((EXAMPLES / f"{name}.yaml").read_text()))


def values(path: str) -> Manifest:
    return yaml.safe_load((CHART / path).read_text())


@pytest.mark.parametrize("name", ["rabbitmq", "postgresql"])
def test_an_example_keeps_to_the_schemas_of_kubernetes_and_of_the_operators(name: str):
    for document in documents(name):
        if document["apiVersion"] == "policy/v1":
            kubernetes_validate.validate(document, "1.30", strict=True)
        else:
            check_custom_resource(document)


def test_one_of_three_nodes_of_rabbitmq_may_be_lost_with_its_zone():
    cluster, budget, _ = documents("rabbitmq")
    assert cluster["spec"]["replicas"] == 3
    spread = cluster["spec"]["override"]["statefulSet"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert {(c["topologyKey"], c["whenUnsatisfiable"]) for c in spread} == {
        ("topology.kubernetes.io/zone", "DoNotSchedule"),
        ("kubernetes.io/hostname", "DoNotSchedule"),
    }
    name = {"app.kubernetes.io/name": cluster["metadata"]["name"]}
    assert [c["labelSelector"]["matchLabels"] for c in spread] == [name, name]
    assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": name}}


def test_the_policy_is_the_one_of_the_runbook():
    spec = documents("rabbitmq")[2]["spec"]
    command = re.search(
        r"--apply-to (\w+) --priority (\d+) \\\n +(\S+) '(.+?)' '(.+?)'", (DEPLOY / "runbook.md").read_text()
    )
    assert command is not None
    applied, priority, name, pattern, definition = command.groups()
    assert (spec["applyTo"], spec["priority"], spec["name"], spec["pattern"]) == (applied, int(priority), name, pattern)
    assert spec["definition"] == yaml.safe_load(definition)


def test_postgresql_commits_on_a_standby_too_and_has_room_for_every_process():
    (cluster,) = documents("postgresql")
    assert cluster["spec"]["postgresql"]["synchronous"] == {"method": "any", "number": 1, "dataDurability": "required"}
    defaults, production = values("values.yaml"), values("ci/production.yaml")
    most = production["scheduler"]["replicas"] + sum(
        defaults[role]["autoscaling"]["maxReplicas"] for role in ("gateway", "recorder", "deliverer")
    )
    each = Settings.model_fields["store_pool_size"].default + 8
    assert int(cluster["spec"]["postgresql"]["parameters"]["max_connections"]) >= most * each


@pytest.mark.parametrize(("name", "variable"), [("rabbitmq", "TRANSPORT_URL"), ("postgresql", "STORE_URL")])
def test_the_url_that_an_example_tells_is_one_for_the_product(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
):
    text = (EXAMPLES / f"{name}.yaml").read_text()
    (url,) = re.findall(r"^# +((?:amqp|postgresql)://\S+)$", text, re.MULTILINE)
    settings = settings_in({f"SIGNAL_BROKER_{variable}": url}, monkeypatch)
    assert url in {settings.transport_url, settings.store_url}
    servers = documents(name)[0]["metadata"]["name"]
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    assert all(host.startswith(f"{servers}-") for host in hosts)
