"""The values of deploy/chart: each does what values.yaml says, and what cannot be right is refused."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from broker.errors import ConfigurationError
from broker.settings import PREFIX, Settings
from broker.topology import attempt_queue
from tests.support.access import read_table
from tests.support.dashboard import DASHBOARD
from tests.support.deployment import DEPLOY, settings_in
from tests.support.helm import (
    CHART,
    HelmFailed,
    Manifest,
    containers,
    helm,
    is_hook,
    manifests,
    needs_helm,
    of_kind,
    processes,
    render,
)

pytestmark = needs_helm

URLS = {f"{PREFIX}TRANSPORT_URL": "amqp://a:b@rabbitmq/", f"{PREFIX}STORE_URL": "postgresql://a:b@postgres/signals"}
"""What of a Secret a process cannot do without."""


def checksums(documents: list[Manifest]) -> dict[str, tuple[str, str]]:
    pods = processes(documents)
    return {
        name: (pod["metadata"]["annotations"]["checksum/settings"], pod["metadata"]["annotations"]["checksum/secrets"])
        for name, pod in pods.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "values", "changed"),
    [
        ("existing-secret", {"settings": {"SIGNAL_BROKER_LOG_LEVEL": "warning"}}, 0),
        ("existing-secret", {"secretChecksum": "2"}, 1),
        ("minimal", {"secrets": {"SIGNAL_BROKER_ADMIN_TOKEN": "another-one-of-a-test"}}, 1),
    ],
)
def test_a_changed_setting_or_secret_replaces_every_pod(case: str, values: Manifest, changed: int):
    before, after = checksums(manifests(case)), checksums(render(case, values))
    for name, sums in before.items():
        assert [old == new for old, new in zip(sums, after[name], strict=True)] == [changed != 0, changed != 1]


@pytest.mark.slow
def test_large_numbers_reach_the_product_as_they_were_written(monkeypatch: pytest.MonkeyPatch):
    """Helm reads numbers as floats, which print as 2.097152e+06."""
    written = {"SIGNAL_BROKER_MAX_BODY_BYTES": 2_097_152, "SIGNAL_BROKER_RETENTION_DAYS": 0.5}
    (config,) = [d for d in of_kind(render(values={"settings": written}), "ConfigMap") if not is_hook(d)]
    settings = settings_in(config["data"] | URLS, monkeypatch)
    assert (settings.max_body_bytes, settings.retention_days) == (2_097_152, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gateway": {"replica": 3}}, "at '/gateway': additional properties 'replica' not allowed"),
        ({"recorder": {"replicas": "many"}}, "at '/recorder/replicas': got string, want integer"),
        ({"extraEnv": []}, "at '': additional properties 'extraEnv' not allowed"),
        ({"settings": {"SIGNAL_BROKER_LOG_LEVL": "info"}}, "'SIGNAL_BROKER_LOG_LEVL' not allowed"),
        ({"settings": {"SIGNAL_BROKER_STORE_URL": "any"}}, "'SIGNAL_BROKER_STORE_URL' not allowed"),
        ({"image": {"digest": "sha256:0"}}, "at '/image/digest': 'sha256:0' does not match pattern"),
        ({"existingSecret": ""}, "secrets.SIGNAL_BROKER_TRANSPORT_URL is missing; set it, or existingSecret"),
        ({"secrets": {"SIGNAL_BROKER_ADMIN_TOKEN": "any"}}, "existingSecret and secrets exclude each other"),
        ({"recorder": {"autoscaling": {"enabled": True}}}, "keda.existingSecret is missing"),
        (
            {"gateway": {"autoscaling": {"enabled": True, "minReplicas": 13}}},
            "gateway.autoscaling.minReplicas is 13, and maxReplicas 12",
        ),
        (
            {"deliverer": {"autoscaling": {"enabled": True, "minReplicas": 20}}, "keda": {"existingSecret": "any"}},
            "deliverer.autoscaling.minReplicas is 20, and maxReplicas 12",
        ),
        ({"ingress": {"enabled": True}}, "ingress.hosts is empty"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs is empty"),
        ({"archive": {"enabled": True}, "scheduler": {"replicas": 2}}, "archive.accessModes lacks ReadWriteMany"),
        (
            {"ingress": {"enabled": True, "hosts": ["a.example", "a.example"]}},
            "at '/ingress/hosts': items at 0 and 1 are",
        ),
        ({"settings": {"SIGNAL_BROKER_METRICS_PORT": 8080}}, "METRICS_PORT is the port of the API"),
        (
            {"pod": {"extraEnv": [{"name": "SIGNAL_BROKER_HTTP_PORT", "value": "1"}]}},
            "set settings.SIGNAL_BROKER_HTTP_",
        ),
        (
            {"gateway": {"pod": {"extraEnv": [{"name": "SIGNAL_BROKER_METRICS_PORT", "value": "1"}]}}},
            "extraEnv has SIGNAL_BROKER_METRICS_PORT, which probes, ports and grace periods follow",
        ),
        ({"fullnameOverride": "123"}, "no Service can be called 123: set fullnameOverride to letters"),
        ({"fullnameOverride": "Signals"}, "no Service can be called Signals"),
        ({"pod": None}, "missing property 'pod'"),
        ({"pod": {"spread": None}}, "at '/pod': missing property 'spread'"),
        ({"prometheus": None, "serviceAccount": None}, "missing properties 'prometheus', 'serviceAccount'"),
        (
            {"prometheus": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
            "prometheus.podMonitor and prometheus.serviceMonitor each find every process, so both together would have",
        ),
        ({"tracing": {"OTEL_EXPORTER_OTLP_HEADERS": "any"}}, "tracing.OTEL_EXPORTER_OTLP_HEADERS may hold credentials"),
        ({"tracing": {"endpoint": "any"}}, "invalid propertyName 'endpoint'"),
        ({"handlers": {"apps": {"Billing_1": {"app": "a:b"}}}}, "'Billing_1' does not match pattern"),
    ],
)
def test_a_value_that_cannot_be_right_is_named_and_refused(values: Manifest, message: str):
    with pytest.raises(HelmFailed, match=re.escape(message)):
        render(values=values)


def unlisted(schema: Manifest, values: Manifest) -> list[str]:
    """Return the keys that *schema* knows and *values* does not have."""
    missing = [name for name in schema["properties"] if name not in values]
    for name, part in schema["properties"].items():
        if "properties" in part and name in values and name not in {"settings", "secrets"}:
            missing += [f"{name}.{key}" for key in unlisted(part, values[name])]
    return missing


def test_every_value_that_the_schema_knows_is_explained():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert unlisted(schema, values) == ["global"], "that one is Helm's"
    assert schema["$defs"]["pod"]["properties"].keys() == values["pod"].keys()


def placeholders() -> list[tuple[str, str]]:
    lines = (DEPLOY / "examples" / "secrets.env").read_text().splitlines()
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


@pytest.mark.parametrize(("name", "value"), placeholders())
def test_the_placeholders_of_the_example_are_refused(name: str, value: str):
    with pytest.raises(HelmFailed, match=rf"secrets\.{name} is the placeholder of an example"):
        render("minimal", {"secrets": {name: value}})


@pytest.mark.parametrize(("name", "value"), placeholders())
def test_no_process_starts_with_a_placeholder_of_the_example(name: str, value: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigurationError, match=rf"{name}.* is the placeholder of an example") as refused:
        settings_in({name: value}, monkeypatch)
    assert value not in str(refused.value)


def test_a_setting_is_a_value_or_a_secret_of_the_chart():
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    known = schema["settings"]["properties"].keys() | schema["secrets"]["properties"].keys()
    assert known - {"OTEL_EXPORTER_OTLP_HEADERS"} == {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    confidential = {f"{PREFIX}{name}" for name in ("TRANSPORT_URL", "STORE_URL", "ADMIN_TOKEN", "SECRET_KEYS")}
    assert confidential & schema["settings"]["properties"].keys() == set()


def labels_of(document: Manifest) -> dict[str, str]:
    return document["metadata"].get("labels", {})


def one(documents: list[Manifest], kind: str) -> Manifest:
    (document,) = of_kind(documents, kind)
    return document


@pytest.mark.slow
def test_an_image_is_named_by_its_digest_rather_than_its_tag():
    documents = manifests("everything")
    ours = {c["image"] for d in of_kind(documents, "Job") for c in containers(d)}
    assert ours == {f"registry.example/signal-broker@sha256:{'0' * 64}"}
    tagged = render(values={"image": {"repository": "registry.example/signal-broker", "tag": "9"}})
    assert {c["image"] for d in tagged for c in containers(d)} == {"registry.example/signal-broker:9"}


def test_every_pod_has_what_all_pods_are_given():
    given = yaml.safe_load((CHART / "ci" / "everything.yaml").read_text())["pod"]
    for document in of_kind(manifests("everything"), "Deployment", "Job"):
        template = document["spec"]["template"]
        pod, metadata = template["spec"], template["metadata"]
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        for field in ("nodeSelector", "tolerations", "affinity"):
            assert pod[field] == given[field]
        (container,) = pod["containers"]
        assert given["extraEnv"][0] in container["env"]
        assert given["extraVolumeMounts"][0] in container["volumeMounts"]
        assert given["extraVolumes"][0] in pod["volumes"]
        assert given["annotations"].items() <= metadata["annotations"].items()
        assert given["labels"].items() <= metadata["labels"].items()


def test_the_values_of_a_process_add_to_those_of_all_or_replace_them():
    pods = processes(manifests("everything"))
    assert {
        name: pod["spec"]["priorityClassName"] for name, pod in pods.items() if name in {"gateway", "recorder"}
    } == {
        "gateway": "signals-gateway",
        "recorder": "signals",
    }
    both = {"team": "signals", "tier": "front"}
    assert both.items() <= pods["gateway"]["metadata"]["annotations"].items()
    spread = {
        name: [
            (c["topologyKey"], c["maxSkew"], c["whenUnsatisfiable"]) for c in pod["spec"]["topologySpreadConstraints"]
        ]
        for name, pod in pods.items()
    }
    assert spread["scheduler"] == [("rack", 2, "DoNotSchedule")]
    assert spread["gateway"] == [
        ("kubernetes.io/hostname", 1, "DoNotSchedule"),
        ("topology.kubernetes.io/zone", 1, "ScheduleAnyway"),
    ]


def test_every_app_of_handlers_has_a_process_in_the_image_that_has_them_and_scales_by_its_queue():
    documents = manifests("everything")
    apps = {name: pod for name, pod in processes(documents).items() if name.startswith("handlers-")}
    assert {name: pod["spec"]["containers"][0]["args"] for name, pod in apps.items()} == {
        "handlers-billing": ["worker", "handlers", "--app", "shop.billing:handlers"],
        "handlers-ledger-entries": ["worker", "handlers", "--app", "shop/ledger.py:handlers"],
    }
    assert {pod["spec"]["containers"][0]["image"] for pod in apps.values()} == {"registry.example/shop:7"}
    queues = {
        d["spec"]["scaleTargetRef"]["name"]: d["spec"]["triggers"][0]["metadata"]["queueName"]
        for d in of_kind(documents, "ScaledObject")
    }
    assert queues == {
        "signals-recorder": "^signals[.]record([.][0-9]+)?$",
        "signals-handlers-billing": attempt_queue("billing"),
        "signals-handlers-ledger-entries": attempt_queue("ledger_entries"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("case", "claim"), [("everything", "signals-archive"), ("openshift-ipv6", "archive")])
def test_only_schedulers_have_the_archive(case: str, claim: str, monkeypatch: pytest.MonkeyPatch):
    documents = manifests(case)
    mounted = {
        name: [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if v["name"] == "archive"]
        for name, pod in processes(documents).items()
    }
    assert {name: claims for name, claims in mounted.items() if claims} == {"scheduler": [claim]}
    (container,) = processes(documents)["scheduler"]["spec"]["containers"]
    (place,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "archive"]
    environment = {e["name"]: e["value"] for e in container["env"] if e["name"].startswith(PREFIX)}
    assert str(settings_in(environment, monkeypatch).archive_dir) == place


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modes", "strategy"),
    [
        (["ReadWriteOnce"], {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
        (["ReadWriteOnce", "ReadWriteMany"], None),
    ],
)
def test_a_volume_of_one_node_is_let_go_before_the_next_pod_starts(modes: list[str], strategy: Manifest | None):
    documents = render(values={"archive": {"enabled": True, "accessModes": modes}})
    (scheduler,) = [d for d in of_kind(documents, "Deployment") if d["metadata"]["name"] == "signal-broker-scheduler"]
    assert scheduler["spec"].get("strategy") == strategy
    assert one(documents, "PersistentVolumeClaim")["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_openshift_chooses_the_user():
    for document in of_kind(manifests("openshift-ipv6"), "Deployment", "Job"):
        context = document["spec"]["template"]["spec"]["securityContext"]
        assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "families"),
    [
        ("everything", {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}),
        ("openshift-ipv6", {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"]}),
        ("minimal", {}),
    ],
)
def test_every_service_has_the_families_of_addresses_that_are_chosen(case: str, families: Manifest):
    services = of_kind(manifests(case), "Service")
    assert services
    for service in services:
        assert {name: value for name, value in service["spec"].items() if name.startswith("ipFamil")} == families


def test_ingress_and_route_pass_on_the_api_and_neither_probes_nor_metrics():
    operations = {operation.partition(" ")[2] for operation in read_table()} | {
        "/",
        "/console",
        "/console/app.js",
        "/docs",
        "/health",
    }
    kept = {"/livez", "/readyz", "/metrics"}
    (rule,) = one(manifests("everything"), "Ingress")["spec"]["rules"]
    by_ingress = {(path["pathType"], path["path"]) for path in rule["http"]["paths"]}
    rules = one(manifests("everything"), "HTTPRoute")["spec"]["rules"]
    matches = [match["path"] for rule in rules for match in rule["matches"]]
    by_route = {(match["type"].removeprefix("Path"), match["value"]) for match in matches}
    assert by_ingress == by_route

    def is_passed_on(path: str) -> bool:
        return any(path == start or (kind == "Prefix" and path.startswith(f"{start}/")) for kind, start in by_ingress)

    assert [path for path in operations - kept if not is_passed_on(path)] == []
    assert [path for path in kept if is_passed_on(path)] == []


def environment_of(pod: Manifest) -> Manifest:
    (container,) = pod["spec"]["containers"]
    return {variable["name"]: variable for variable in container.get("env", [])}


def test_every_process_gets_the_variables_of_opentelemetry_and_names_its_pod():
    documents = manifests("everything")
    for pod in processes(documents).values():
        variables = environment_of(pod)
        names = list(variables)
        assert {name: one["value"] for name, one in variables.items() if name.startswith("OTEL_")} == {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.monitoring:4318",
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=$(POD_NAME)",
            "OTEL_SERVICE_NAME": "signals",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.1",
        }
        assert variables["POD_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        assert names.index("POD_NAME") < names.index("OTEL_RESOURCE_ATTRIBUTES"), "it would not be filled in otherwise"
    jobs = [d["spec"]["template"] for d in of_kind(documents, "Job")]
    assert [pod for pod in jobs if "OTEL_EXPORTER_OTLP_ENDPOINT" in environment_of(pod)] == []


@pytest.mark.slow
def test_attributes_of_the_resource_can_be_given_and_without_tracing_there_are_none():
    given = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
    pod = processes(render(values={"tracing": given}))["gateway"]
    assert environment_of(pod) == {
        "OTEL_RESOURCE_ATTRIBUTES": {"name": next(iter(given)), "value": given[next(iter(given))]}
    }
    assert environment_of(processes(manifests("existing-secret"))["gateway"]) == {}


def test_network_policies_have_the_ports_that_are_set():
    (policy, *_) = of_kind(manifests("everything"), "NetworkPolicy")
    ports = [{port["port"] for port in rule["ports"]} for rule in policy["spec"]["egress"]]
    assert ports == [{53, 5353}, {5672, 5671, 15672, 15671}, {5432, 6432}, {3128}, {4318, 4317}]
    assert policy["spec"]["ingress"][0]["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}
    ]
    assert of_kind(manifests("openshift-ipv6"), "NetworkPolicy") == []


def test_the_operator_of_prometheus_gets_the_metrics_of_every_process_and_the_alerts():
    documents = manifests("everything")
    monitor = one(documents, "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    for pod in processes(documents).values():
        assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports
        assert not any(name.startswith("prometheus.io/") for name in pod["metadata"]["annotations"])
    (group,) = one(documents, "PrometheusRule")["spec"]["groups"]
    (alerts,) = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [rule["alert"] for rule in alerts["rules"]]


def test_an_operator_that_knows_services_only_gets_the_metrics_of_every_process_ready_or_not():
    documents = manifests("openshift-ipv6")
    monitor = one(documents, "ServiceMonitor")["spec"]
    (service,) = [
        d
        for d in of_kind(documents, "Service")
        if monitor["selector"]["matchLabels"].items() <= d["metadata"]["labels"].items()
    ]
    (port,) = service["spec"]["ports"]
    assert monitor["endpoints"] == [{"port": port["name"], "interval": "15s"}]
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["ipFamilies"] == ["IPv6"]
    for pod in processes(documents).values():
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert port["targetPort"] in ports
    assert of_kind(documents, "PodMonitor") == []


def test_grafana_finds_the_dashboard_by_its_label():
    (dashboard,) = [d for d in of_kind(manifests("everything"), "ConfigMap") if "grafana_dashboard" in labels_of(d)]
    assert dashboard["metadata"]["annotations"] == {"grafana_folder": "Signals"}
    (text,) = dashboard["data"].values()
    assert json.loads(text) == DASHBOARD
    assert [d for d in manifests("production") if "grafana_dashboard" in labels_of(d)] == []


def test_what_helm_prints_at_the_end_tells_how_to_look_after_it():
    printed = helm("install", "signal-broker", CHART, "--dry-run=client", values={"existingSecret": "mine"})
    notes = printed.partition("NOTES:")[2]
    assert "exec deploy/signal-broker-gateway -- signal-broker doctor" in notes
    assert "When you change the Secret mine, upgrade with another secretChecksum" in notes
