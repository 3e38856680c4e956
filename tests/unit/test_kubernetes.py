"""deploy/base and its overlays, as kustomize renders them, held against Kubernetes and against the code."""

from __future__ import annotations

import re
from functools import cache

import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from broker.topology import TOPOLOGY
from tests.support.deployment import (
    DEPLOY,
    IMAGE,
    PROCESSES,
    SETUP,
    assert_ready_for_use,
    runtime,
    settings_in,
)
from tests.support.kustomize import Schema, containers, render

MADE_BY_HAND = {"signal-broker", "signal-broker-keda"}
"""The Secrets that overlays/production expects to find in the namespace."""

everywhere = pytest.mark.parametrize("kustomization", ["base", "overlays/minimal", "overlays/production"])


@cache
def manifests(kustomization: str) -> list[Schema]:
    return render(DEPLOY / kustomization)


def of_kind(documents: list[Schema], *kinds: str) -> list[Schema]:
    return [document for document in documents if document["kind"] in kinds]


def names(documents: list[Schema], *kinds: str) -> set[str]:
    return {document["metadata"]["name"] for document in of_kind(documents, *kinds)}


@everywhere
def test_every_manifest_keeps_to_the_schema_of_kubernetes(kustomization: str):
    checked = [document for document in manifests(kustomization) if not document["apiVersion"].startswith("keda.sh/")]
    assert checked
    for document in checked:
        kubernetes_validate.validate(document, "1.34", strict=True)


@everywhere
def test_every_file_beside_a_kustomization_is_part_of_it(kustomization: str):
    text = (DEPLOY / kustomization / "kustomization.yaml").read_text()
    files = {path.name for path in (DEPLOY / kustomization).iterdir()} - {"kustomization.yaml"}
    assert {name for name in files if name not in text} == set()


@everywhere
def test_the_manifests_belong_to_no_namespace(kustomization: str):
    assert [d for d in manifests(kustomization) if "namespace" in d["metadata"]] == []


@everywhere
def test_every_process_and_every_step_of_the_setup_runs(kustomization: str):
    def arguments(kind: str) -> list[list[str]]:
        return [c["args"] for document in of_kind(manifests(kustomization), kind) for c in containers(document)]

    assert arguments("Deployment") == PROCESSES
    assert arguments("Job") == SETUP
    images = {container["image"] for document in manifests(kustomization) for container in containers(document)}
    assert images == {IMAGE}


@everywhere
def test_every_selector_finds_its_pods(kustomization: str):
    documents = manifests(kustomization)
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in of_kind(documents, "Deployment", "Job")]
    selectors = [
        *(d["spec"]["selector"] for d in of_kind(documents, "Service")),
        *(d["spec"]["selector"]["matchLabels"] for d in of_kind(documents, "PodDisruptionBudget")),
        *(d["spec"]["podSelector"]["matchLabels"] for d in of_kind(documents, "NetworkPolicy")),
    ]
    assert len(selectors) == 1 + 4 + 2
    assert [selector for selector in selectors if not any(selector.items() <= labels.items() for labels in pods)] == []
    for deployment in of_kind(documents, "Deployment"):
        assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]


@everywhere
def test_every_reference_leads_somewhere(kustomization: str):
    documents = manifests(kustomization)
    secrets = names(documents, "Secret") | (MADE_BY_HAND if kustomization != "overlays/minimal" else set())
    for document in of_kind(documents, "Deployment", "Job"):
        pod = document["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] in names(documents, "ServiceAccount")
        (container,) = pod["containers"]
        config, secret = container["envFrom"]
        assert config["configMapRef"]["name"] in names(documents, "ConfigMap")
        assert secret["secretRef"]["name"] in secrets
        assert [m["name"] for m in container["volumeMounts"]] == [volume["name"] for volume in pod["volumes"]]
    for document in of_kind(documents, "TriggerAuthentication"):
        assert {reference["name"] for reference in document["spec"]["secretTargetRef"]} <= secrets


def test_the_secrets_that_are_made_by_hand_are_in_the_runbook():
    commands = set(re.findall(r"create secret generic (\S+)", (DEPLOY / "runbook.md").read_text()))
    assert commands == MADE_BY_HAND


def test_the_minimal_overlay_sets_everything_a_process_needs(monkeypatch: pytest.MonkeyPatch):
    generated = of_kind(manifests("overlays/minimal"), "ConfigMap", "Secret")
    settings = settings_in({k: v for document in generated for k, v in document["data"].items()}, monkeypatch)
    assert_ready_for_use(settings)
    secret = yaml.safe_dump(generated[-1]["data"])
    assert settings.admin_token == SecretStr("replace-me-with-a-long-random-value")
    assert secret.count("replace-me") == 3


@everywhere
def test_the_pods_may_do_nothing_but_their_work(kustomization: str):
    user, _, group = runtime("USER").partition(":")
    for document in of_kind(manifests(kustomization), "Deployment", "Job"):
        pod = document["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": int(user),
            "runAsGroup": int(group),
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert pod["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


@everywhere
def test_being_ready_and_being_alive_are_asked_apart_at_the_port_the_process_listens_on(kustomization: str):
    (config,) = of_kind(manifests(kustomization), "ConfigMap")
    for document in of_kind(manifests(kustomization), "Deployment"):
        (container,) = containers(document)
        ports = {name: int(config["data"][f"SIGNAL_BROKER_{name.upper()}_PORT"]) for name in ("http", "metrics")}
        assert container["ports"] == [{"name": name, "containerPort": port} for name, port in ports.items()]
        probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
        assert probes == {
            "startup": {"path": "/livez", "port": "http"},
            "readiness": {"path": "/readyz", "port": "http"},
            "liveness": {"path": "/livez", "port": "http"},
        }
        annotations = document["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == str(ports["metrics"])


@everywhere
def test_only_pods_may_reach_the_metrics_and_all_the_api(kustomization: str):
    (policy,) = [d for d in of_kind(manifests(kustomization), "NetworkPolicy") if "Ingress" in d["spec"]["policyTypes"]]
    rules = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["spec"]["ingress"]}
    assert rules == {"http": None, "metrics": [{"namespaceSelector": {}}]}
    services = [port for d in of_kind(manifests(kustomization), "Service") for port in d["spec"]["ports"]]
    assert {port["targetPort"] for port in services} == {"http"}


@everywhere
def test_a_pod_is_given_the_time_to_drain(kustomization: str):
    (config,) = of_kind(manifests(kustomization), "ConfigMap")
    drain = float(config["data"]["SIGNAL_BROKER_DRAIN_TIMEOUT_SECONDS"])
    for document in of_kind(manifests(kustomization), "Deployment"):
        (container,) = containers(document)
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert (pause > 0) == (container["args"] == ["gateway"])
        assert document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > pause + drain + 5


def test_only_what_no_autoscaler_owns_has_a_number_of_replicas():
    documents = manifests("overlays/production")
    scaled = {
        d["spec"]["scaleTargetRef"]["name"] for d in of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject")
    }
    fixed = {d["metadata"]["name"] for d in of_kind(documents, "Deployment") if "replicas" in d["spec"]}
    assert scaled | fixed == names(documents, "Deployment")
    assert scaled & fixed == set()


def test_workers_scale_by_the_queue_they_consume():
    triggers = [
        (document["metadata"]["name"], trigger["metadata"])
        for document in of_kind(manifests("overlays/production"), "ScaledObject")
        for trigger in document["spec"]["triggers"]
    ]
    assert {(name, trigger["queueName"]) for name, trigger in triggers} == {
        ("signal-broker-recorder", "signals.record"),
        ("signal-broker-deliverer", "deliveries.attempt"),
        ("signal-broker-deliverer", "deliveries.attempt.slow"),
    }
    assert {trigger["queueName"] for _, trigger in triggers} <= {queue.name for queue in TOPOLOGY.queues}
    assert {trigger["protocol"] for _, trigger in triggers} == {"http"}, "AMQP does not count unacked messages"
