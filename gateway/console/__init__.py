"""``/console``: an application in the browser that shows operators the books and what is owed, and lets them act.

Its files are served as they are, or compressed once at the start: `app` is ours, `vendor` has what others made (see
vendor/README.md). They call the API by the session's cookie (`gateway.sessions`).
"""

from __future__ import annotations

import gzip
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple, Self

from aiohttp import hdrs, web

from gateway.answer_headers import CONTENT_POLICY, ENCODING, LOCATION, TAG, VARY
from gateway.encodings import accepts_gzip
from gateway.http_errors import NotFound
from gateway.routes import OpenRoute, Parameter, Route

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_INDEX = "index.html"


class _Body(NamedTuple):
    """A file as it is answered, with a tag of its own: a strong one is for these bytes only (RFC 9110, 8.8.3.3)."""

    content: bytes
    tag: str

    @classmethod
    def of(cls, content: bytes) -> Self:
        return cls(content, sha256(content).hexdigest()[:32])


class _File(NamedTuple):
    """A file of the application."""

    plain: _Body
    compressed: _Body
    content_type: str


class ConsoleApi:
    """Serves the files of the application."""

    def __init__(self) -> None:
        self._files = _load()

    @property
    def routes(self) -> list[Route]:
        """The routes of the console, and one that leads to it."""
        name = Parameter("file", "The name of the file.", location="path")
        found: dict[int, str | None] = {200: "text/javascript", 304: None, 404: "application/problem+json"}
        kept = (TAG, VARY, CONTENT_POLICY)
        headers = {200: (*kept, ENCODING), 304: kept}
        page: dict[int, str | None] = {200: "text/html", 304: None}
        return [
            OpenRoute("GET", "/", self.lead, "Find the console", {302: None}, headers={302: (LOCATION,)}),
            OpenRoute("GET", "/console", self.console, "Open the console", page, headers=headers),
            OpenRoute(
                "GET",
                "/console/{file}",
                self.file,
                "Load a file of the console",
                found,
                parameters=(name,),
                headers=headers,
            ),
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
    is_compressed = accepts_gzip(request)
    body = file.compressed if is_compressed else file.plain
    headers = {
        hdrs.ETAG: f'"{body.tag}"',
        hdrs.CACHE_CONTROL: "no-cache",
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
        CONTENT_POLICY.name: POLICY,
    }
    if any(known.value == body.tag for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    if is_compressed:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=body.content, content_type=file.content_type, charset="utf-8", headers=headers)


def _load() -> dict[str, _File]:
    found = {}
    for folder in ("app", "vendor"):
        for entry in (files("gateway.console") / folder).iterdir():
            ending = entry.name[entry.name.rfind(".") :]
            if ending in _TYPES:
                content = entry.read_bytes().replace(b'from"preact"', b'from"./preact.js"')
                compressed = gzip.compress(content, mtime=0)  # without the time, so that gateways have the same tags
                found[entry.name] = _File(_Body.of(content), _Body.of(compressed), _TYPES[ending])
    return found
