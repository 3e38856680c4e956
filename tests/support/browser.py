"""A real browser, Chromium, with a fresh profile for each test; and what axe-core finds in a page that it shows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests.support import node
from tests.support.chromium import provide_chromium

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WITHIN = 20_000
"""Milliseconds in which a page must do what a test waits for."""
expect.set_options(timeout=WITHIN)

_NO_SESSION = re.compile(r"status of 401 .*/v1/session\)")
"""A page of the console asks whether there is a session; the browser reports the answer that there is none."""
_AXE = Path(__file__).with_name("axe")
_RUN_AXE = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"


class Tab:
    """A tab of a browser that shows a page of the gateway at *url*; what it complains of is kept.

    Attributes:
        page: Playwright's page.
        complaints: Errors on the console (violations of the content security policy among them), and exceptions that
            nothing caught.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self._expected = [_NO_SESSION]
        page.set_default_timeout(WITHIN)
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

    async def open(self, path: str) -> None:
        """Go to a *path* of the gateway, and wait until it is loaded."""
        await self.page.goto(self.url + path)

    async def sign_in(self, **credential: str) -> Any:
        """Begin a session with ``token=``, or ``user=`` and ``password=``, and return what the answer says."""
        answer = await self.page.context.request.post(f"{self.url}/v1/session", data=credential)
        assert answer.status == 201, await answer.text()
        return await answer.json()

    def expect(self, pattern: str) -> None:
        """Take complaints that match *pattern* for what the test wants: a browser reports each answer of 4xx as one."""
        self._expected.append(re.compile(pattern))

    @property
    def unexpected(self) -> Sequence[str]:
        """The complaints that no pattern of `expect` matches."""
        return [one for one in self.complaints if not any(pattern.search(one) for pattern in self._expected)]

    async def check_accessibility(self) -> dict[str, list[str]]:
        """Return what axe-core finds, by impact: minor, moderate, serious or critical; each with its rule and place."""
        axe = node.install(_AXE) / "node_modules" / "axe-core" / "axe.min.js"
        await self.page.evaluate(axe.read_text(encoding="utf-8"))
        found: dict[str, list[str]] = defaultdict(list)
        for violation in await self.page.evaluate(_RUN_AXE):
            found[violation["impact"]] += [f"{violation['id']}: {_place(one)}" for one in violation["nodes"]]
        return dict(found)


class Window:
    """A browser in which tests open tabs on the gateway at *url*."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self._url = url
        self.tabs: list[Tab] = []

    async def tab(
        self, *, width: int = 1280, height: int = 800, scheme: Literal["light", "dark"] = "light", **options: Any
    ) -> Tab:
        """Return a new tab, with cookies and storage of its own; *options* go to Playwright's context."""
        context = await self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, timezone_id="UTC", **options
        )
        tab = Tab(await context.new_page(), self._url)
        self.tabs.append(tab)
        return tab


@asynccontextmanager
async def opened_window(url: str) -> AsyncIterator[Window]:
    """Yield a browser with a fresh profile; on leaving, fail if one of its tabs complained of something."""
    executable = provide_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, headless=True, args=FLAGS)
        try:
            window = Window(browser, url)
            yield window
            complaints = [one for tab in window.tabs for one in tab.unexpected]
            if complaints:
                raise AssertionError("\n".join(["the browser complains:", *complaints]))
        finally:
            await browser.close()


def _place(element: Any) -> str:
    """Return where in the page *element* is, and what is wrong with it."""
    return f"{' '.join(map(str, element['target']))}, {element['failureSummary']}".replace("\n", " ")
