"""Names in deploy/chart: whatever a release is called, its objects have names and labels that Kubernetes takes."""

from __future__ import annotations

import pytest

from tests.support.helm import HelmFailed, Manifest, is_hook, names, needs_helm, of_kind, processes, render

pytestmark = needs_helm


@pytest.mark.slow
@pytest.mark.parametrize("release", ["123", "1e3", "0x1f", "5.10"])
def test_a_release_whose_name_is_not_that_of_a_service_says_what_to_set(release: str):
    with pytest.raises(HelmFailed, match=r"no Service can be called .* set fullnameOverride"):
        render(release=release)
    for document in render(values={"fullnameOverride": "signals"}, release=release):
        assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == release


@pytest.mark.slow
@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("true", "true-signal-broker"),
        ("my.release.v2", "my-release-v2-signal-broker"),
        (f"{'a' * 39}.{'b' * 13}", f"{'a' * 33}-510ad9"),
        ("payments-platform-signal-broker-eu-west-1", "payments-platform-signal-broker-e-29946e"),
        ("payments-platform-signal-broker-us-west-1", "payments-platform-signal-broker-u-e54297"),
        ("payments-platform-signal-broker-eu-west", "payments-platform-signal-broker-eu-west"),
    ],
)
def test_any_other_name_of_a_release_becomes_one_of_a_service(release: str, name: str):
    documents = render(release=release)
    assert [service["metadata"]["name"] for service in of_kind(documents, "Service")] == [name]
    assert {d["metadata"]["labels"]["app.kubernetes.io/instance"] for d in documents} == {release}


@pytest.mark.slow
def test_names_of_digits_stay_texts():
    values = {
        "nameOverride": "456",
        "fullnameOverride": "signals",
        "existingSecret": "123",
        "serviceAccount": {"create": False, "name": "789"},
        "pod": {"priorityClassName": "1000"},
    }
    for pod in processes(render(values=values)).values():
        spec = pod["spec"]
        assert (spec["serviceAccountName"], spec["priorityClassName"]) == ("789", "1000")
        assert spec["containers"][0]["envFrom"][1] == {"secretRef": {"name": "123"}}
        assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "456"


def everything(*apps: str) -> Manifest:
    """Return values with which whatever has a name is there, with these *apps* of handlers."""
    return {
        "handlers": {"apps": {app: {"app": "a:b"} for app in apps}, "autoscaling": {"enabled": True}},
        "prometheus": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}},
        "archive": {"enabled": True},
        "gateway": {"autoscaling": {"enabled": True}},
        "recorder": {"autoscaling": {"enabled": True}},
        "deliverer": {"autoscaling": {"enabled": True}},
        "keda": {"existingSecret": "any"},
    }


@pytest.mark.slow
@pytest.mark.parametrize("release", ["payments-production", "payments-platform-signal-broker-production-eu"])
def test_no_name_is_too_long_whatever_the_apps_are_called(release: str):
    """KEDA names an autoscaler ``keda-hpa-`` and the name of the ScaledObject."""
    apps = ("billing", "subscriptions", "subscriptions-reminder", "subscriptions-receipts")
    documents = render(values=everything(*apps), release=release)
    assert [d for d in documents if len(d["metadata"]["name"]) > 63] == []
    scaled = of_kind(documents, "ScaledObject")
    assert len({d["metadata"]["name"] for d in scaled}) == 2 + len(apps)
    assert max(len(f"keda-hpa-{d['metadata']['name']}") for d in scaled) <= 63
    deployments = names(documents, "Deployment")
    assert {d["spec"]["scaleTargetRef"]["name"] for d in scaled} < deployments
    assert names(documents, "PodDisruptionBudget") == deployments
    assert {f"handlers-{app}" for app in apps} < processes(documents).keys(), (
        "metrics and selectors have the whole name"
    )
    unhooked = [(d["kind"], d["metadata"]["name"]) for d in documents if not is_hook(d)]
    assert len(set(unhooked)) == len(unhooked)


@pytest.mark.slow
def test_the_name_of_an_app_is_shortened_only_where_it_is_too_long():
    documents = render(values=everything("billing", "subscriptions"), release="payments-production")
    assert names(documents, "ScaledObject") == {
        "payments-production-signal-broker-recorder",
        "payments-production-signal-broker-deliverer",
        "payments-production-signal-broker-handlers-billing",
        "payments-production-signal-broker-handlers-subs-f07581",
    }
