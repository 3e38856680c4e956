"""What a process exports on ``/metrics``."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from broker import metrics
from tests.support.product import Client

Sample = tuple[str, dict[str, str], float]


async def read_samples(client: Client, path: str = "/metrics") -> list[Sample]:
    """Return every sample: its name, its labels and its value."""
    status, headers, body = await client.request("GET", path)
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(body.decode())
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def described_metrics() -> dict[str, set[str]]:
    """Return the product's metrics as the table in `broker.metrics` has them: the labels of each, by name."""
    rows = re.findall(r"^\| (signal_broker_\w+) \| ([\w, ]*)\|", metrics.__doc__ or "", re.MULTILINE)
    return {name: set(re.findall(r"\w+", labels)) for name, labels in rows}


def measured_once(name: str) -> bool:
    """Return whether one scheduler measures the metric *name* for all; the table says so."""
    return re.search(rf"^\| {re.escape(name)} \|.*\(\*\) \|$", metrics.__doc__ or "", re.MULTILINE) is not None
