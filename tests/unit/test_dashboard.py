"""The dashboard for Grafana shows every metric there is, and no other; its queries are tried in integration."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from tests.support.dashboard import DASHBOARD, VARIABLES, panels, queries
from tests.support.deployment import DEPLOY
from tests.support.exposition import described_metrics, measured_once

SUFFIX = re.compile("_(bucket|count|sum)$")
OF_ALL_PRODUCTS = 'namespace=~"$namespace",job=~"$job"'

every_query = pytest.mark.parametrize("query", queries(), ids=str)


def selectors(expression: str) -> dict[str, str]:
    """Return what is between the braces of each metric of the product and of its process."""
    return {
        SUFFIX.sub("", name): matchers
        for name, matchers in re.findall(r"\b((?:signal_broker|process)_\w+)\{([^}]*)\}", expression)
    }


def test_it_shows_every_metric_of_the_table_and_no_other():
    shown = {name for query in queries() for name in selectors(query.expression)}
    assert {name for name in shown if name.startswith("signal_broker_")} == described_metrics().keys()


@every_query
def test_a_query_names_only_labels_that_its_metrics_have(query):
    for name, matchers in selectors(query.expression).items():
        labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers)) - {"namespace", "job", "instance"}
        assert labels <= described_metrics().get(name, set())
    grouped = {label for by in re.findall(r"by \(([^)]*)\)", query.expression) for label in by.split(", ")}
    known = {label for name in selectors(query.expression) for label in described_metrics().get(name, set())}
    assert grouped <= known | {"le", "instance"}


@every_query
def test_a_query_is_about_what_the_variables_choose(query):
    """What one scheduler measures for all stays in sight when another instance is chosen."""
    for name, matchers in selectors(query.expression).items():
        assert matchers.startswith(OF_ALL_PRODUCTS), name
        whole = measured_once(name) or query.panel == "Not ready"
        assert ("$instance" in matchers) != whole, name


@pytest.mark.parametrize("panel", [panel for _, panel in panels()], ids=[panel["title"] for _, panel in panels()])
def test_a_panel_names_its_data_source_and_labels_that_its_queries_keep(panel):
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["description"]
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in by.split(", ")}
        assert set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))) <= grouped


def test_the_sections_of_the_runbook_that_it_names_exist():
    runbook = (DEPLOY / "runbook.md").read_text("utf-8")
    named = {
        section
        for _, panel in panels()
        for found in re.findall(r"Runbook: (.+)\.$", panel["description"])
        for section in found.split("; ")
    }
    assert len(named) > 10
    for section in named:
        assert re.search(rf"^\*\*{re.escape(section)}\.?\*\*", runbook, re.MULTILINE), section


def test_no_two_panels_have_one_id_or_one_place():
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)

    def cells(place):
        columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        return {(column, line) for column in columns for line in lines}

    places = [cells(panel["gridPos"]) for panel in everything]
    assert [pair for pair in combinations(places, 2) if pair[0] & pair[1]] == []
    assert {column for place in places for column, _ in place} == set(range(24))


def test_the_variables_choose_a_data_source_a_product_and_its_processes():
    assert list(VARIABLES) == ["datasource", "namespace", "job", "instance"]
    for name in ("namespace", "job", "instance"):
        variable = VARIABLES[name]
        assert re.fullmatch(rf"label_values\(signal_broker_build_info.*, {name}\)", variable["query"]["query"])
        assert (variable["includeAll"], variable["allValue"]) == (True, ".*"), "also where there is no such label"
