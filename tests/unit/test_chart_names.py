"""Names in deploy/chart: whatever a release is called, its objects have names and labels that Kubernetes takes."""

from __future__ import annotations

import pytest

from tests.support.helm import HelmFailed, needs_helm, of_kind, processes, render

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
        (f"{'a' * 39}.{'b' * 13}", "a" * 39),
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
