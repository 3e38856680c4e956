"""Pages: each is one file with its own script and style, and may talk to this server only."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

from aiohttp import web


class Page:
    """The page *name* of *package*, which contains one script and one style."""

    def __init__(self, package: str, name: str) -> None:
        self._text = (files(package) / name).read_text(encoding="utf-8")
        self._headers = {"Content-Security-Policy": content_security_policy(self._text)}

    def answer(self) -> web.Response:
        """Return the page as an answer."""
        return web.Response(text=self._text, content_type="text/html", headers=self._headers)


def content_security_policy(page: str) -> str:
    """Return the policy that allows *page* its own script and style and requests to this server, and nothing else."""
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
