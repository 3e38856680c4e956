"""The documentation's site: every page is in it, and no link within it is broken."""

from __future__ import annotations

import asyncio
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import expect

from docs.site.build import build
from docs.site.pages import Source, written
from tests.support.browser import opened_window
from tests.support.product import client_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LINK = re.compile(r'<(?:a|link|script|img)\b[^>]*?\s(?:href|src)="([^"]+)"')
ID = re.compile(r'\sid="([^"]+)"')


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(embedded_product, tmp_path_factory):
    """Return the directory of the site."""
    directory = tmp_path_factory.mktemp("site")
    async with client_of(embedded_product.url) as client:
        await asyncio.to_thread(build, directory, await client.get("/openapi.json"), Source())
    return directory


@pytest.fixture
def url(site):
    """Serve the site; return its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


async def test_it_is_built_without_a_warning_and_no_link_is_broken(site):
    pages = {path: path.read_text("utf-8") for path in site.rglob("*.html")}
    assert {site / page.with_suffix(".html") for page in written()} <= pages.keys()
    ids = {path: set(ID.findall(text)) for path, text in pages.items()}
    broken = []
    for page, text in pages.items():
        for link in LINK.findall(text):
            parts = urlsplit(link)
            if parts.scheme or link == "#":
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in ids.get(target, ())):
                broken.append((page.name, link))
    assert broken == []


async def test_commands_wrap_and_the_search_finds_pages_before_decisions(url):
    async with opened_window(url) as window:
        tab = await window.tab()
        tab.expect("favicon")
        await tab.open("/docs/cloudevents.html")
        commands = tab.page.locator('div[class^="highlight-sh"] pre')
        assert await commands.evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)") == [0] * 5

        await tab.open("/search.html?q=install+python+client")
        found = tab.page.locator("#search-results li > a")
        await expect(found.filter(has_text="The Python client")).to_have_count(1)
        await expect(tab.page.locator("#search-summary, .search-summary").first).to_contain_text("found")
        hrefs = await found.evaluate_all("all => all.map(one => one.pathname)")
        late = [bool(re.search("/decisions/|CHANGELOG", href)) for href in hrefs]
        assert any(late)
        assert late == sorted(late)
