"""The probes and the metrics, which every process has, as routes of the gateway."""

from __future__ import annotations

from broker.health import Health
from gateway.answer_headers import UNREADY
from gateway.routes import OpenRoute, Route

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Their paths."""

_METRICS = "text/plain"
"""Unless ``Accept`` names OpenMetrics."""


def probes(health: Health, *, metrics: bool) -> list[Route]:
    """Return the routes that *health* answers, with or without the *metrics*."""
    answers = {200: "application/json", 503: "application/json"}
    missing = {200: (UNREADY,), 503: (UNREADY,)}
    routes: list[Route] = [
        OpenRoute("GET", "/livez", health.livez, "Ask whether it lives", answers),
        OpenRoute("GET", "/readyz", health.readyz, "Ask whether it is ready", answers, headers=missing),
    ]
    if metrics:
        routes.append(OpenRoute("GET", "/metrics", health.metrics, "Read the metrics", {200: _METRICS}))
    return routes
