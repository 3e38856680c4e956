"""Releases of deploy/chart by Helm itself: what it does in a cluster, and in which order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.helm import CHART, HelmFailed, Manifest, helm, needs_helm
from tests.support.kubernetes import Cluster, serving

pytestmark = [pytest.mark.slow, needs_helm]

SETUP = ["Job/signal-broker-migrate", "Job/signal-broker-topology"]
DEPLOYMENTS = {f"signal-broker-{role}" for role in ("gateway", "recorder", "deliverer", "scheduler")}


class Release:
    """The release ``signal-broker`` in a cluster of its own."""

    def __init__(self, cluster: Cluster, url: str, notes: str) -> None:
        self.cluster = cluster
        self._server = ("--kube-apiserver", url, "--timeout", "30s")
        self._settings = {"HELM_DRIVER": "sql", "HELM_DRIVER_SQL_CONNECTION_STRING": notes}

    def apply(self, **values: Manifest) -> list[tuple[str, str]]:
        """Install or upgrade it, and return what that did."""
        command = ("upgrade", "--install", "--disable-openapi-validation", "signal-broker", CHART)
        return self._do(*command, "--values", str(CHART / "ci" / "minimal.yaml"), values=values)

    def roll_back(self) -> list[tuple[str, str]]:
        """Return to the values before, and return what that did."""
        return self._do("rollback", "signal-broker")

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
