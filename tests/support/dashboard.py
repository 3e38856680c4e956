"""The dashboard for Grafana, deploy/dashboard.json, as its tests read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.support.deployment import DEPLOY

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "dashboard.json").read_text("utf-8"))
VARIABLES: dict[str, dict[str, Any]] = {one["name"]: one for one in DASHBOARD["templating"]["list"]}


class Query(NamedTuple):
    """What a panel asks Prometheus for, with Grafana's variables in it; *number* counts the panel's queries."""

    row: str
    panel: str
    number: int
    expression: str

    def __str__(self) -> str:
        return f"{self.row}: {self.panel} {self.number}"


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each panel with the title of its row."""
    row = ""
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            yield row, panel


def queries() -> list[Query]:
    """Return the queries of all panels."""
    return [
        Query(row, panel["title"], number, target["expr"])
        for row, panel in panels()
        for number, target in enumerate(panel["targets"], 1)
    ]


def with_values(expression: str, **values: str) -> str:
    """Return *expression* as Grafana sends it: with *values* for its variables, and with those that stand for all."""
    known = {name: one["allValue"] for name, one in VARIABLES.items() if "allValue" in one} | values
    for name, value in known.items():
        expression = expression.replace(f"${name}", value)
    return expression
