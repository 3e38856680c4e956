"""``/openapi.json``, and ``/docs``: a page that shows it without fetching anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files

from aiohttp import web

from gateway.dialects import Dialect
from gateway.openapi import describe
from gateway.routes import Route


class DocsApi:
    """Serves the description of every route, its own included."""

    def __init__(self, routes: Sequence[Route], dialects: Sequence[Dialect], *, version: str) -> None:
        self._page = (files("gateway") / "docs.html").read_text(encoding="utf-8")
        self._policy = content_security_policy(self._page)
        self._description = describe([*routes, *self.routes], dialects, version=version)

    @property
    def routes(self) -> list[Route]:
        """What this part answers."""
        return [
            Route("GET", "/openapi.json", self.openapi, "Describe the API", {200: "application/json"}, secured=False),
            Route("GET", "/docs", self.docs, "Read the description", {200: "text/html"}, secured=False),
        ]

    async def openapi(self, _request: web.Request) -> web.Response:
        """Answer the OpenAPI document."""
        return web.json_response(self._description)

    async def docs(self, _request: web.Request) -> web.Response:
        """Answer a page for people."""
        headers = {"Content-Security-Policy": self._policy, "X-Content-Type-Options": "nosniff"}
        return web.Response(text=self._page, content_type="text/html", headers=headers)


def content_security_policy(page: str) -> str:
    """Return the policy that lets *page* run its own script and style, talk to this server, and nothing else."""
    script, style = (
        base64.b64encode(hashlib.sha256(_inline(page, tag).encode()).digest()).decode() for tag in ("script", "style")
    )
    return (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _inline(page: str, tag: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return found[1] if found else ""
