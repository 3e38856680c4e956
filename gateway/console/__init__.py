"""``/console``: an application in the browser that shows operators the books and what is owed, and lets them act.

Its files are served as they are: `app` is ours, `vendor` has what others made (see vendor/README.md). They call the API
by the session's cookie (`gateway.sessions`).
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from aiohttp import hdrs, web

from gateway.http_errors import NotFound
from gateway.routes import OpenRoute, Parameter, Route

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_INDEX = "index.html"


class _File(NamedTuple):
    """A file of the application, as it is answered."""

    content: bytes
    content_type: str
    tag: str


class ConsoleApi:
    """Serves the files of the application."""

    def __init__(self) -> None:
        self._files = _load()

    @property
    def routes(self) -> list[Route]:
        """The routes of the console, and one that leads to it."""
        name = Parameter("file", "The name of the file.", location="path")
        found: dict[int, str | None] = {200: "text/javascript", 304: None}
        return [
            OpenRoute("GET", "/", self.lead, "Find the console", {302: None}),
            OpenRoute("GET", "/console", self.console, "Open the console", {200: "text/html", 304: None}),
            OpenRoute("GET", "/console/{file}", self.file, "Load a file of the console", found, parameters=(name,)),
        ]

    async def lead(self, _request: web.Request) -> web.Response:
        """Lead people who open the root to the console."""
        return web.Response(status=302, headers={hdrs.LOCATION: "console"})  # relative, for proxies with a path

    async def console(self, request: web.Request) -> web.Response:
        """Answer the page of the application."""
        return _answer(request, self._files[_INDEX])

    async def file(self, request: web.Request) -> web.Response:
        """Answer one of its scripts and styles."""
        file = self._files.get(request.match_info["file"])
        if file is None:
            raise NotFound("The console has no such file.")
        return _answer(request, file)


def _answer(request: web.Request, file: _File) -> web.Response:
    """Answer *file*, unless the browser has it already; it asks each time, so that an upgrade is seen at once."""
    headers = {hdrs.ETAG: f'"{file.tag}"', hdrs.CACHE_CONTROL: "no-cache", "Content-Security-Policy": POLICY}
    if any(known.value == file.tag for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.content, content_type=file.content_type, charset="utf-8", headers=headers)


def _load() -> dict[str, _File]:
    found = {}
    for folder in ("app", "vendor"):
        for entry in (files("gateway.console") / folder).iterdir():
            ending = entry.name[entry.name.rfind(".") :]
            if ending in _TYPES:
                content = entry.read_bytes().replace(b'from"preact"', b'from"./preact.js"')
                found[entry.name] = _File(content, _TYPES[ending], sha256(content).hexdigest()[:32])
    return found
