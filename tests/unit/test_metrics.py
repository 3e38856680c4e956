"""The table of metrics is complete, and counters whose labels are known begin at 0."""

from __future__ import annotations

import re
from inspect import cleandoc
from pathlib import Path

from broker import metrics
from broker.topology import RECORD
from tests.support.exposition import described_metrics


def test_the_table_has_every_metric_and_its_labels():
    table = described_metrics()
    suffixes = {"counter": "_total"}
    families = {family.name + suffixes.get(family.type, ""): family for family in metrics.REGISTRY.collect()}
    own = {name: family for name, family in families.items() if name.startswith("signal_broker_")}
    assert own.keys() == table.keys()
    for name, family in own.items():
        assert all(sample.labels.keys() - {"le"} == table[name] for sample in family.samples), name


def test_the_page_about_metrics_has_the_table():
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text().endswith("\n\n" + cleandoc(metrics.__doc__ or "").partition("\n\n")[2] + "\n")


def test_every_metric_that_a_page_names_exists():
    root = Path(__file__).parents[2]
    pages = [root / "README.md", root / "deploy" / "runbook.md", *(root / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"\bsignal_broker_(?!client\b)\w+", page.read_text())}
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in named} == described_metrics().keys()


def test_what_is_of_any_process_is_exported_too():
    names = {family.name for family in metrics.REGISTRY.collect()}
    assert {"process_cpu_seconds", "process_open_fds", "python_info", "python_gc_collections"} <= names


def test_a_counter_whose_labels_are_known_begins_at_0():
    """Without a series at 0, the first event would be no increase."""
    for name, labels in [
        ("messages_poisoned", {"queue": RECORD}),
        ("batches_postponed", {"queue": RECORD}),
        ("attempts", {"kind": "handler", "outcome": "gone"}),
        ("signals_accepted", {"source": "camunda", "scope": "tenant"}),
        ("signals_refused", {"source": "signal-endpoint", "status": "503"}),
        ("deliveries_held_back", {"reason": "in_flight"}),
        ("deliveries_left", {"queue": "deliveries.attempt.slow"}),
    ]:
        assert metrics.REGISTRY.get_sample_value(f"signal_broker_{name}_total", labels) is not None, (name, labels)
