"""deploy/chart, as Helm renders it, held against Kubernetes and against the code."""

from __future__ import annotations

import re
import tarfile
from base64 import b64decode
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from jsonschema import ValidationError
from kubernetes_validate.utils import all_versions

from broker.topology import ATTEMPT, RECORD, TOPOLOGY, shard_names
from tests.support.custom_resources import check_custom_resource
from tests.support.deployment import DEPLOY, IMAGE, PROCESSES, SETUP, assert_ready_for_use, runtime, settings_in
from tests.support.helm import (
    CHART,
    HelmFailed,
    containers,
    helm,
    is_hook,
    kustomize,
    manifests,
    names,
    needs_helm,
    of_kind,
    processes,
    render,
)

pytestmark = needs_helm

MADE_BY_HAND = {"signal-broker", "signal-broker-keda"}
"""The Secrets that values in ci/ expect to find in the namespace."""
CASES = sorted(path.stem for path in (CHART / "ci").iterdir())
VERSIONS = sorted({version.rpartition(".")[0] for version in all_versions()}, key=lambda v: int(v.partition(".")[2]))
OF_KUBERNETES = re.compile(r"v1|apps/|autoscaling/|batch/|networking\.k8s\.io/|policy/")

everywhere = pytest.mark.parametrize("case", CASES)


def settings_of(case: str) -> dict[str, str]:
    (config,) = [
        d for d in of_kind(manifests(case), "ConfigMap") if not is_hook(d) and "dashboard" not in d["metadata"]["name"]
    ]
    return config["data"]


@pytest.mark.slow
@everywhere
def test_helm_has_nothing_to_say_against_the_chart(case: str):
    assert "1 chart(s) linted, 0 chart(s) failed" in helm(
        "lint", "--strict", CHART, "--values", CHART / "ci" / f"{case}.yaml"
    )


@pytest.mark.slow
@everywhere
def test_every_custom_resource_keeps_to_its_schema(case: str):
    for document in manifests(case):
        if not OF_KUBERNETES.match(document["apiVersion"]):
            check_custom_resource(document)


def test_a_custom_resource_that_is_wrong_is_noticed():
    wrong = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "spec": {"scaleTargetRef": {"nam": "x"}}}
    with pytest.raises(ValidationError, match="'nam' was unexpected"):
        check_custom_resource(wrong)


@pytest.mark.slow
@everywhere
@pytest.mark.parametrize("version", [version for version in VERSIONS if int(version.partition(".")[2]) >= 30])
def test_every_manifest_keeps_to_the_schema_of_kubernetes(case: str, version: str):
    checked = [document for document in manifests(case) if OF_KUBERNETES.match(document["apiVersion"])]
    assert checked
    for document in checked:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.slow
def test_kubernetes_is_new_enough_for_what_the_manifests_use():
    """`preStop.sleep` is there since 1.30."""
    with pytest.raises(HelmFailed, match=r"chart requires kubeVersion: >=1\.30\.0-0"):
        helm("template", CHART, "--kube-version", "1.29.9", values={"existingSecret": "any"})


@pytest.mark.slow
def test_a_packaged_chart_is_the_same_and_holds_nothing_of_the_tests(tmp_path: Path):
    helm("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.iterdir()
    assert package.name == f"{IMAGE.replace(':', '-')}.tgz"
    values = ("--values", CHART / "ci" / "everything.yaml")
    documents = list(yaml.safe_load_all(helm("template", "signal-broker", package, *values)))
    assert documents == manifests("everything")
    with tarfile.open(package) as archive:
        assert [name for name in archive.getnames() if "/ci/" in name] == []


@pytest.mark.slow
def test_kustomize_patches_what_helm_prints(tmp_path: Path):
    """Its own ``helmCharts`` calls Helm with an option that Helm 4 does not have any more."""
    (tmp_path / "chart.yaml").write_text(yaml.safe_dump_all(manifests("production")))
    patch = [{"op": "add", "path": "/spec/template/spec/hostUsers", "value": False}]
    plan = {
        "resources": ["chart.yaml"],
        "patches": [{"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(patch)}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(plan))
    patched = kustomize(tmp_path)
    assert {pod["spec"]["hostUsers"] for pod in processes(patched).values()} == {False}
    assert len(patched) == len(manifests("production"))


@pytest.mark.slow
@everywhere
def test_the_manifests_belong_to_no_namespace(case: str):
    assert [d for d in manifests(case) if "namespace" in d["metadata"]] == []


@pytest.mark.slow
def test_two_releases_share_nothing():
    one, other = (render("minimal", release=release) for release in ("signal-broker", "second"))
    assert {(d["kind"], d["metadata"]["name"]) for d in one} & {
        (d["kind"], d["metadata"]["name"]) for d in other
    } == set()
    selectors = [d["spec"]["selector"]["matchLabels"] for d in of_kind(other, "Deployment")]
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in of_kind(one, "Deployment", "Job")]
    assert [s for s in selectors if any(s.items() <= labels.items() for labels in pods)] == []


@pytest.mark.slow
@everywhere
def test_every_process_and_every_step_of_the_setup_runs(case: str):
    def arguments(kind: str) -> list[list[str]]:
        return [c["args"] for document in of_kind(manifests(case), kind) for c in containers(document)]

    assert [one for one in PROCESSES if one not in arguments("Deployment")] == []
    assert arguments("Job") == SETUP


def test_the_image_is_the_one_of_this_version():
    assert {c["image"] for document in manifests("minimal") for c in containers(document)} == {IMAGE}


@everywhere
def test_every_selector_finds_its_pods(case: str):
    documents = manifests(case)
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in of_kind(documents, "Deployment", "Job")]
    deployments = of_kind(documents, "Deployment")
    selectors = [
        *(d["spec"]["selector"] for d in of_kind(documents, "Service")),
        *(d["spec"]["selector"]["matchLabels"] for d in of_kind(documents, "PodDisruptionBudget")),
        *(d["spec"]["podSelector"]["matchLabels"] for d in of_kind(documents, "NetworkPolicy")),
        *(
            constraint["labelSelector"]["matchLabels"]
            for d in deployments
            for constraint in d["spec"]["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    assert len(selectors) > 1 + len(deployments)
    assert [selector for selector in selectors if not any(selector.items() <= labels.items() for labels in pods)] == []
    for deployment in deployments:
        wanted = deployment["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    budgets = names(documents, "PodDisruptionBudget")
    assert budgets == names(documents, "Deployment")


@everywhere
def test_every_reference_leads_to_what_is_there_by_then(case: str):
    """Hooks run before everything that is not a hook; what a process refers to must not go with the hooks."""
    for kind, hook in (("Deployment", False), ("Job", True)):
        there = [document for document in manifests(case) if is_hook(document) == hook]
        for document in of_kind(manifests(case), kind):
            pod = document["spec"]["template"]["spec"]
            assert pod["serviceAccountName"] in names(there, "ServiceAccount") | {"signals"}
            (container,) = pod["containers"]
            config, secret = container["envFrom"]
            assert config["configMapRef"]["name"] in names(there, "ConfigMap")
            assert secret["secretRef"]["name"] in names(there, "Secret") | MADE_BY_HAND
            assert [m["name"] for m in container["volumeMounts"]] == [volume["name"] for volume in pod["volumes"]]
            claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
            assert set(claims) <= names(there, "PersistentVolumeClaim") | {"archive"}
    for document in of_kind(manifests(case), "TriggerAuthentication"):
        assert {reference["name"] for reference in document["spec"]["secretTargetRef"]} <= MADE_BY_HAND


def test_the_values_in_the_runbook_are_those_of_production():
    text = (DEPLOY / "runbook.md").read_text().partition("    image: {repository: <registry>/signal-broker}\n")[2]
    production = yaml.safe_load((CHART / "ci" / "production.yaml").read_text())
    del production["secretChecksum"]
    assert yaml.safe_load(text.partition("\n\n")[0]) == production


def test_the_secrets_that_are_made_by_hand_are_in_the_runbook():
    commands = set(re.findall(r"create secret generic (\S+)", (DEPLOY / "runbook.md").read_text()))
    assert commands == MADE_BY_HAND


@everywhere
def test_jobs_run_before_the_processes_within_bounds_and_never_have_to_be_changed(case: str):
    jobs = of_kind(manifests(case), "Job")
    for job in jobs:
        annotations = job["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation"
        assert job["spec"]["activeDeadlineSeconds"] > 0
        assert containers(job)[0]["resources"].keys() == {"requests", "limits"}
    weights = {int(job["metadata"]["annotations"]["helm.sh/hook-weight"]) for job in jobs}
    needed = [d for d in manifests(case) if is_hook(d) and d["kind"] != "Job"]
    assert needed
    for document in needed:
        annotations = document["metadata"]["annotations"]
        assert int(annotations["helm.sh/hook-weight"]) < min(weights)
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"


def test_the_fewest_values_set_everything_a_process_needs(monkeypatch: pytest.MonkeyPatch):
    (secret,) = [d for d in of_kind(manifests("minimal"), "Secret") if not is_hook(d)]
    entries = {name: b64decode(value).decode() for name, value in secret["data"].items()}
    assert_ready_for_use(settings_in({**settings_of("minimal"), **entries}, monkeypatch))


@everywhere
def test_the_pods_may_do_nothing_but_their_work(case: str):
    user, _, group = runtime("USER").partition(":")
    fixed = {
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "fsGroup": int(group),
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    fixed = {} if case == "openshift-ipv6" else fixed
    for document in of_kind(manifests(case), "Deployment", "Job"):
        pod = document["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"] == {"runAsNonRoot": True, **fixed, "seccompProfile": {"type": "RuntimeDefault"}}
        assert pod["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


@everywhere
def test_being_ready_and_being_alive_are_asked_apart_at_the_port_the_process_listens_on(case: str):
    ports = {name: int(settings_of(case)[f"SIGNAL_BROKER_{name.upper()}_PORT"]) for name in ("http", "metrics")}
    for document in of_kind(manifests(case), "Deployment"):
        (container,) = containers(document)
        assert container["ports"] == [{"name": name, "containerPort": port} for name, port in ports.items()]
        probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
        assert probes == {
            "startup": {"path": "/livez", "port": "http"},
            "readiness": {"path": "/readyz", "port": "http"},
            "liveness": {"path": "/livez", "port": "http"},
        }


def test_prometheus_finds_the_metrics_of_every_process_by_annotations():
    for pod in processes(render(values={"settings": {"SIGNAL_BROKER_METRICS_PORT": 9191}})).values():
        found = {k: v for k, v in pod["metadata"]["annotations"].items() if k.startswith("prometheus.io/")}
        assert found == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "9191",
            "prometheus.io/path": "/metrics",
        }


def test_only_pods_may_reach_the_metrics_and_all_the_api():
    (policy, *_) = of_kind(manifests("minimal"), "NetworkPolicy")
    rules = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["spec"]["ingress"]}
    assert rules == {"http": None, "metrics": [{"namespaceSelector": {}}]}
    services = [port for d in of_kind(manifests("minimal"), "Service") for port in d["spec"]["ports"]]
    assert {port["targetPort"] for port in services} == {"http"}


@everywhere
def test_a_pod_is_given_the_time_to_drain(case: str):
    drain = float(settings_of(case)["SIGNAL_BROKER_DRAIN_TIMEOUT_SECONDS"])
    for document in of_kind(manifests(case), "Deployment"):
        (container,) = containers(document)
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert (pause > 0) == (container["args"] == ["gateway"])
        assert document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > pause + drain + 7


def test_grace_periods_follow_the_drain_timeout():
    drained = render(values={"settings": {"SIGNAL_BROKER_DRAIN_TIMEOUT_SECONDS": 59.5}})
    grace = {name: pod["spec"]["terminationGracePeriodSeconds"] for name, pod in processes(drained).items()}
    assert grace == {"gateway": 85, "recorder": 75, "deliverer": 75, "scheduler": 75}


@everywhere
def test_only_what_no_autoscaler_owns_has_a_number_of_replicas(case: str):
    documents = manifests(case)
    scaled = {
        d["spec"]["scaleTargetRef"]["name"] for d in of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject")
    }
    fixed = {d["metadata"]["name"] for d in of_kind(documents, "Deployment") if "replicas" in d["spec"]}
    assert scaled | fixed == names(documents, "Deployment")
    assert scaled & fixed == set()


def counts(trigger: dict[str, str], queue: str) -> bool:
    """Return whether KEDA counts the messages of *queue*; RabbitMQ finds a regular expression anywhere in a name."""
    if trigger.get("useRegex") == "true":
        return re.search(trigger["queueName"], queue) is not None
    return trigger["queueName"] == queue


def test_workers_scale_by_the_queues_they_consume_with_all_their_shards():
    triggers = [
        (document["metadata"]["name"], trigger["metadata"])
        for document in of_kind(manifests("production"), "ScaledObject")
        for trigger in document["spec"]["triggers"]
    ]
    consumed = {
        (name, queue)
        for name, trigger in triggers
        for queue in (*shard_names(RECORD, 12), *shard_names(ATTEMPT, 12), *(queue.name for queue in TOPOLOGY.queues))
        if counts(trigger, queue)
    }
    assert consumed == {
        *(("signal-broker-recorder", queue) for queue in shard_names(RECORD, 12)),
        *(("signal-broker-deliverer", queue) for queue in shard_names(ATTEMPT, 12)),
        ("signal-broker-deliverer", "deliveries.attempt.slow"),
    }
    assert {trigger["operation"] for _, trigger in triggers if "useRegex" in trigger} == {"sum"}
    assert {trigger["protocol"] for _, trigger in triggers} == {"http"}, "AMQP does not count unacked messages"
