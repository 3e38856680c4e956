"""The site has every page that people write, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from deploy.cli.main import main
from docs.site.pages import ROOT, Source, link_files, pictures, written
from docs.site.reference import commands, routes

PAGE = PurePosixPath("docs/metrics.md")
SOURCE = Source("https://example.com/a/b", "v1")


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("[books](reliability.md#the-ledger)", "[books](reliability.md#the-ledger)"),
        ("[runbook](../deploy/runbook.md)", "[runbook](../deploy/runbook.md)"),
        ("![states](pictures/delivery.svg)", "![states](pictures/delivery.svg)"),
        ("[here](#names), [there](https://example.org/x.md)", "[here](#names), [there](https://example.org/x.md)"),
        ("[alerts](../deploy/alerts.yaml)", "[alerts](https://example.com/a/b/blob/v1/deploy/alerts.yaml)"),
        ("[`console`](../gateway/console)", "[`console`](https://example.com/a/b/tree/v1/gateway/console)"),
    ],
)
def test_links_to_pages_stay_and_those_to_files_lead_to_the_repository(text, linked):
    assert link_files(text, PAGE, SOURCE) == linked


def test_a_file_is_just_named_where_the_repository_cannot_be_read():
    assert link_files("see [alerts](../deploy/alerts.yaml)", PAGE, Source()) == "see alerts"


def test_a_link_to_nothing_is_refused():
    with pytest.raises(FileNotFoundError, match=r"docs/metrics.md links to ../deploy/gone.yaml, which does not exist"):
        link_files("[gone](../deploy/gone.yaml)", PAGE, SOURCE)


@pytest.mark.parametrize("page", written(), ids=str)
def test_all_links_of_a_page_lead_to_something(page):
    link_files((ROOT / page).read_text("utf-8"), page, SOURCE)


def test_every_picture_is_shown_and_described():
    pages = [ROOT / page for page in written()] + [ROOT / "docs/site/index.md"]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    for picture in pictures():
        assert re.search(rf"!\[[^\]]{{40,}}\]\([^)]*{re.escape(picture.name)}\)", text), picture


def test_routes_are_listed_below_the_first_parts_of_their_paths():
    operation = {"summary": "Show a signal", "responses": {"200": {}, "404": {}}}
    page = routes(
        {"paths": {"/v1/signals/{id}": {"get": operation}, "/v1/signals/{id}/deliveries": {"get": operation}}}
    )
    assert "## `/v1/signals`\n" in page
    assert page.count("## ") == 1
    assert "| `GET /v1/signals/{id}` | Show a signal | 200, 404 |\n" in page


def test_every_command_has_its_help():
    page = commands(main, "signal-broker")
    assert "## signal-broker endpoint token rotate\n\n```text\nUsage: signal-broker endpoint token rotate " in page
