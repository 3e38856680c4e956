"""As much of kustomize as deploy/ uses, for machines without its binary; what it does not know it refuses.

Generated names keep no hash suffix, and a ConfigMap's or Secret's entries are its ``data``, in clear.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]


def render(directory: Path) -> list[Schema]:
    """Return the manifests that ``kubectl kustomize directory`` prints."""
    plan = yaml.safe_load((directory / "kustomization.yaml").read_text())
    assert (plan.pop("apiVersion"), plan.pop("kind")) == ("kustomize.config.k8s.io/v1beta1", "Kustomization")
    documents: list[Schema] = []
    for path in (directory / resource for resource in plan.pop("resources")):
        documents += render(path) if path.is_dir() else yaml.safe_load_all(path.read_text())
    for generator in plan.pop("configMapGenerator", []):
        documents.append(_generated("ConfigMap", generator["name"], generator["literals"]))
    for generator in plan.pop("secretGenerator", []):
        lines = [line for env in generator["envs"] for line in (directory / env).read_text().splitlines()]
        documents.append(_generated("Secret", generator["name"], lines))
    for patch in plan.pop("patches", []):
        _patch(documents, yaml.safe_load((directory / patch["path"]).read_text()), patch["target"])
    for replicas in plan.pop("replicas", []):
        _named(documents, "Deployment", replicas["name"])["spec"]["replicas"] = replicas["count"]
    for image in plan.pop("images", []):
        for container in (c for document in documents for c in containers(document)):
            if container["image"].partition(":")[0] == image["name"]:
                container["image"] = f"{image['name']}:{image['newTag']}"
    assert not plan, f"{directory}: {sorted(plan)} are not known here"
    return documents


def containers(document: Schema) -> list[Schema]:
    """Return the containers of a workload's pods; none for anything else."""
    return document["spec"]["template"]["spec"]["containers"] if document["kind"] in {"Deployment", "Job"} else []


def _generated(kind: str, name: str, entries: list[str]) -> Schema:
    data = dict(entry.split("=", 1) for entry in entries)
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data}


def _named(documents: list[Schema], kind: str, name: str) -> Schema:
    (document,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return document


def _patch(documents: list[Schema], patch: Schema, target: dict[str, str]) -> None:
    chosen = [
        document
        for document in documents
        if re.fullmatch(target["kind"], document["kind"])
        and re.fullmatch(target.get("name", ".*"), document["metadata"]["name"])
    ]
    assert chosen, f"nothing is {target}"
    fields = {key: value for key, value in patch.items() if key not in {"kind", "metadata"}}
    for document in chosen:
        document |= _merged(document, fields)  # noqa: PLW2901  (in place)


def _merged(base: Any, patch: Any) -> Any:
    """Return *base* with *patch* merged in; lists are merged by name where every item has one, null deletes."""
    if isinstance(base, dict) and isinstance(patch, dict):
        merged = {key: value for key, value in base.items() if key not in patch or patch[key] is not None}
        return merged | {k: _merged(base.get(k), v) for k, v in patch.items() if v is not None}
    if isinstance(base, list) and isinstance(patch, list) and all("name" in item for item in base + patch):
        by_name = {item["name"]: item for item in base}
        return list((by_name | {item["name"]: _merged(by_name.get(item["name"]), item) for item in patch}).values())
    return patch
