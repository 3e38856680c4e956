"""Releases of deploy/chart by Helm itself: what it does in a cluster, and in which order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from signal import SIGINT, SIGKILL, Signals

import pytest

from tests.support.deployment import DEPLOY
from tests.support.helm import CHART, HelmFailed, Manifest, helm, helm_beside, kubectl, needs_helm
from tests.support.kubernetes import Cluster, serving

pytestmark = [pytest.mark.slow, needs_helm]

SETUP = ["Job/signal-broker-migrate", "Job/signal-broker-topology"]
DEPLOYMENTS = {f"signal-broker-{role}" for role in ("gateway", "recorder", "deliverer", "scheduler")}


class Release:
    """The release ``signal-broker`` in a cluster of its own."""

    def __init__(self, cluster: Cluster, url: str, notes: str) -> None:
        self.cluster = cluster
        self.url = url
        self._server = ("--kube-apiserver", url, "--timeout", "30s")
        self._settings = {"HELM_DRIVER": "sql", "HELM_DRIVER_SQL_CONNECTION_STRING": notes}

    def apply(self, *flags: str, **values: object) -> list[tuple[str, str]]:
        """Install or upgrade it, with *flags* of Helm, and return what that did."""
        return self._do(*self._applying(), *flags, values=values)

    def apply_in_vain(self, how: Signals) -> None:
        """Install or upgrade it with a Job that hangs, and end Helm by *how* while it waits."""
        self.cluster.hanging = {"signal-broker-migrate"}
        self.cluster.hung.clear()
        with helm_beside(*self._applying(), *self._server, settings=self._settings) as process:
            assert self.cluster.hung.wait(30)
            process.send_signal(how)
            process.wait(30)
        self.cluster.hanging = set()

    def uninstall(self) -> None:
        """Remove it."""
        self._do("uninstall", "signal-broker")

    def roll_back(self) -> list[tuple[str, str]]:
        """Return to the values before, and return what that did."""
        return self._do("rollback", "signal-broker")

    @staticmethod
    def _applying() -> list[str]:
        command = ["upgrade", "--install", "--disable-openapi-validation", "signal-broker", str(CHART)]
        return [*command, "--values", str(CHART / "ci" / "minimal.yaml")]

    def _do(self, *arguments: str, values: Manifest | None = None) -> list[tuple[str, str]]:
        before = len(self.cluster.deeds)
        helm(*arguments, *self._server, values=values, settings=self._settings)
        return self.cluster.deeds[before:]


@pytest.fixture
def release(database_url: str) -> Iterator[Release]:
    """A release that is not installed yet."""
    cluster = Cluster()
    with serving(cluster) as url:
        yield Release(cluster, url, f"{database_url}&sslmode=disable")


def level(name: str) -> Manifest:
    return {"SIGNAL_BROKER_LOG_LEVEL": name}


def checksums(release: Release) -> dict[str, str]:
    return {
        name: deployment["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
        for name, deployment in release.cluster.all("Deployment").items()
    }


def of_processes(deeds: list[tuple[str, str]]) -> set[str]:
    return {what.partition("/")[2] for _, what in deeds if what.startswith("Deployment/")}


def test_an_installation_migrates_before_anything_else_and_leaves_no_copies(release: Release):
    deeds = release.apply()
    created = [what for deed, what in deeds if deed == "create"]
    assert [name for name, _ in release.cluster.ran] == ["signal-broker-migrate", "signal-broker-topology"]
    assert {what.partition("/")[2] for what in created[: created.index(SETUP[0])]} == {"signal-broker-setup"}
    assert created.index(SETUP[0]) + 1 == created.index(SETUP[1])
    assert of_processes(deeds) == DEPLOYMENTS
    for kind in ("ConfigMap", "Secret", "ServiceAccount"):
        assert release.cluster.all(kind).keys() == {"signal-broker"}
    assert release.cluster.all("NetworkPolicy").keys() == {"signal-broker", "signal-broker-webhooks"}
    assert release.cluster.all("Job").keys() == {"signal-broker-migrate", "signal-broker-topology"}


def test_an_upgrade_runs_new_jobs_with_the_new_settings_before_it_changes_a_process(release: Release):
    release.apply(settings=level("info"))
    before, first = checksums(release), len(release.cluster.ran)
    deeds = release.apply(settings=level("warning"))
    for job in SETUP:
        assert deeds.index(("delete", job)) < deeds.index(("create", job))
    assert max(deeds.index(("create", job)) for job in SETUP) < min(
        deeds.index(("change", f"Deployment/{name}")) for name in DEPLOYMENTS
    )
    assert [entries["SIGNAL_BROKER_LOG_LEVEL"] for _, entries in release.cluster.ran[first:]] == ["warning", "warning"]
    assert all(old != checksums(release)[name] for name, old in before.items())


@pytest.mark.parametrize("step", ["migrate", "topology"])
def test_processes_stay_as_they_are_if_a_job_fails_and_the_next_upgrade_goes_through(release: Release, step: str):
    release.apply(settings=level("info"))
    before = checksums(release)
    release.cluster.failing = {f"signal-broker-{step}"}
    with pytest.raises(HelmFailed, match="pre-upgrade hooks failed"):
        release.apply(settings=level("warning"))
    assert checksums(release) == before
    assert release.cluster.all("Secret").keys() == {"signal-broker"}
    release.cluster.failing = set()
    assert of_processes(release.apply(settings=level("warning"))) == DEPLOYMENTS
    assert all(old != checksums(release)[name] for name, old in before.items())


def test_a_rollback_runs_no_job(release: Release):
    release.apply(settings=level("info"))
    before = checksums(release)
    release.apply(settings=level("warning"))
    deeds = release.roll_back()
    assert checksums(release) == before
    assert [what for _, what in deeds if what.startswith("Job/")] == []


@pytest.mark.parametrize("installed", [False, True])
def test_helm_can_be_interrupted_while_a_job_hangs_and_repeated(release: Release, *, installed: bool):
    if installed:
        release.apply()
    release.apply_in_vain(SIGINT)
    assert of_processes(release.apply()) == DEPLOYMENTS


@pytest.mark.parametrize("installed", [False, True])
def test_a_helm_that_was_killed_while_a_job_hung_is_followed_as_the_runbook_says(release: Release, *, installed: bool):
    said = (DEPLOY / "runbook.md").read_text().partition("another operation")[2].partition("\n\n")[0]
    commands = re.findall(r"`helm (uninstall|rollback) signal-broker -n signal-broker`", said)
    assert commands == ["rollback", "uninstall"]
    if installed:
        release.apply()
    release.apply_in_vain(SIGKILL)
    with pytest.raises(HelmFailed, match="another operation"):
        release.apply()
    if installed:
        release.roll_back()
    else:
        release.uninstall()
    assert of_processes(release.apply()) == DEPLOYMENTS


def test_the_secret_of_the_chart_stays_when_it_becomes_an_existing_one(release: Release):
    release.apply()
    release.apply(secrets=None, existingSecret="signal-broker")
    assert release.cluster.all("Secret").keys() == {"signal-broker"}


KUSTOMIZE_BASE = [
    *(("apps/v1", "Deployment", f"signal-broker-{role}") for role in ("gateway", "recorder", "deliverer", "scheduler")),
    ("v1", "Service", "signal-broker"),
    ("v1", "ServiceAccount", "signal-broker"),
    ("v1", "ConfigMap", "signal-broker-6hb5t2"),
    ("batch/v1", "Job", "signal-broker-migrate"),
    ("batch/v1", "Job", "signal-broker-topology"),
    ("networking.k8s.io/v1", "NetworkPolicy", "signal-broker"),
    ("networking.k8s.io/v1", "NetworkPolicy", "signal-broker-webhooks"),
    *(
        ("policy/v1", "PodDisruptionBudget", f"signal-broker-{role}")
        for role in ("gateway", "recorder", "deliverer", "scheduler")
    ),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "signal-broker-gateway"),
    ("keda.sh/v1alpha1", "ScaledObject", "signal-broker-recorder"),
    ("keda.sh/v1alpha1", "ScaledObject", "signal-broker-deliverer"),
    ("keda.sh/v1alpha1", "TriggerAuthentication", "signal-broker-rabbitmq"),
    ("v1", "Secret", "signal-broker"),
    ("v1", "Secret", "signal-broker-keda"),
]
"""What 0.1 had in a namespace by deploy/overlays/production, with its Secrets."""


@pytest.fixture
def release_beside_the_base(release: Release) -> Release:
    """A release that is not installed yet, where the kustomize base of 0.1 runs."""
    for version, kind, name in KUSTOMIZE_BASE:
        spec = {"selector": {"matchLabels": {"app.kubernetes.io/name": "signal-broker"}}, "template": {}}
        release.cluster.keep({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
    return release


def steps_from_the_base() -> list[list[str]]:
    """Return the commands by which the runbook replaces the kustomize base, each in its words."""
    section = (DEPLOY / "runbook.md").read_text().partition("### From 0.1 to 0.2")[2].partition("\n### ")[0]
    lines = [line.strip() for line in section.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(("kubectl ", "helm "))]


def test_helm_refuses_what_the_kustomize_base_made(release_beside_the_base: Release):
    with pytest.raises(HelmFailed, match="missing key"):
        release_beside_the_base.apply(secrets=None, existingSecret="signal-broker")


def test_the_runbook_replaces_the_kustomize_base_and_keeps_its_service_until_the_schema_is_new(
    release_beside_the_base: Release,
):
    release = release_beside_the_base
    for program, *words in steps_from_the_base():
        if program == "helm":
            flags = [word for word in words if word in {"--take-ownership", "--force-conflicts"}]
            deeds = release.apply(*flags, secrets=None, existingSecret="signal-broker")
        elif "delete" in words and "-l" not in words:
            kubectl(*words, "--wait=false", "--server", release.url)
    assert deeds.index(("create", SETUP[1])) < deeds.index(("change", "Service/signal-broker"))
    assert of_processes(deeds) == DEPLOYMENTS
    for kind in ("Deployment", "Service", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"):
        for document in release.cluster.all(kind).values():
            assert document["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    for kind in ("HorizontalPodAutoscaler", "ScaledObject", "TriggerAuthentication"):
        assert release.cluster.all(kind) == {}
    assert release.cluster.all("Secret").keys() == {"signal-broker", "signal-broker-keda"}
