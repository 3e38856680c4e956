"""Snapshots: subscriptions as audit events show them, without credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.redaction import hide_credentials_of_url
from broker.store.rows import spec_columns
from broker.subscriptions import SubscriptionSpec


def snapshot(spec: SubscriptionSpec) -> dict[str, object]:
    """Return *spec* as audit events show it: headers by their names only, and URLs without credentials."""
    shown = _cut(spec_columns(spec))
    del shown["is_pattern"]
    steps: Any = shown["steps"]
    return dict(sorted(shown.items())) | {"steps": None if steps is None else [_cut(step) for step in steps]}


def _cut(columns: Mapping[str, Any]) -> dict[str, object]:
    kept = {name: value for name, value in columns.items() if name != "sealed"}
    address = kept["address"] if kept["kind"] != "webhook" else hide_credentials_of_url(kept["address"])
    return {**kept, "address": address, "headers": list(kept["headers"])}


def credentials(spec: SubscriptionSpec) -> list[object]:
    """Return what `snapshot` leaves out of *spec*, for comparisons."""
    return [(target.columns["headers"], target.sealed) for target in spec.targets]
