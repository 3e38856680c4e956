"""Custom resources against the schemas of their definitions, which are in tests/support/crds."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator


@cache
def _validator(kind: str, version: str) -> Draft202012Validator:
    schema = Path(__file__).with_name("crds") / f"{kind.lower()}_{version}.json"
    return Draft202012Validator(json.loads(schema.read_text()))


def check_custom_resource(document: dict[str, Any]) -> None:
    """Check *document*, a manifest of a custom resource, against the schema of its kind and version.

    Raises:
        jsonschema.ValidationError: It does not keep to it.
        FileNotFoundError: There is no schema of its kind.
    """
    _validator(document["kind"], document["apiVersion"].rpartition("/")[2]).validate(document)
