"""The probes and the metrics, which every process has, as routes of the gateway."""

from __future__ import annotations

from broker.health import Health
from gateway.routes import OpenRoute, Route

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Their paths."""

_METRICS = "application/openmetrics-text"


def probes(health: Health) -> list[Route]:
    """Return the routes that *health* answers."""
    answers = {200: "application/json", 503: "application/json"}
    return [
        OpenRoute("GET", "/livez", health.livez, "Ask whether it lives", answers),
        OpenRoute("GET", "/readyz", health.readyz, "Ask whether it is ready", answers),
        OpenRoute("GET", "/metrics", health.metrics, "Read the metrics", {200: _METRICS}),
    ]
