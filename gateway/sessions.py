"""Sessions of browsers: their cookie, and how it is known that a request is meant by a page of this server.

A browser sends the cookie along by itself. So a request that may change something also needs the session's CSRF token,
which only pages of this server can read, and must not say that it comes from elsewhere.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from broker.access import Principal
from gateway.forwarding import public_url
from gateway.http_errors import Forbidden

NAME = "signal-broker-session"
CSRF = "X-CSRF-Token"
_SITE = "Sec-Fetch-Site"
_SAFE = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
_OWN_SITES = frozenset({"same-origin", "none"})
"""What a browser says of requests by pages of this server, and by its user."""
_PORTS = {"http": 80, "https": 443}
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that has not ended.

    Args:
        id: Its id.
        principal: Whom it stands for, as that is now.
        ends_at: From when on it opens nothing.
        csrf_token: What requests that may change something have in `X-CSRF-Token`.
    """

    id: int
    principal: Principal
    ends_at: datetime
    csrf_token: str


class _Cookie(NamedTuple):
    """What the cookie is called, and where a browser sends it."""

    name: str
    path: str
    is_secure: bool


def make_value() -> str:
    """Return a new value of a cookie: 256 random bits."""
    return secrets.token_urlsafe(32)


def csrf_token(value: str) -> str:
    """Return the CSRF token of the session whose cookie has that *value*; it does not give the value away."""
    return hmac.digest(value.encode(), b"csrf", sha256).hex()


def read_cookie(request: web.Request) -> str | None:
    """Return the value of the session's cookie; None without one, or if it cannot be one.

    So it is if there are two: one of them may be of another server in the same domain.
    """
    name, found = _cookie(request).name, []
    for line in request.headers.getall(hdrs.COOKIE, ()):
        pairs = (pair.partition("=") for pair in line.split(";"))
        found += [value.strip() for key, _, value in pairs if key.strip() == name]
    return found[0] if len(found) == 1 and _VALUE.fullmatch(found[0]) else None


def set_cookie(request: web.Request, response: web.Response, value: str, *, seconds: int) -> None:
    """Let the browser keep the cookie for so many *seconds*."""
    name, path, is_secure = _cookie(request)
    response.set_cookie(name, value, max_age=seconds, path=path, secure=is_secure, httponly=True, samesite="Strict")


def clear_cookie(request: web.Request, response: web.Response) -> None:
    """Let the browser forget the cookie."""
    set_cookie(request, response, "", seconds=0)


def check_intent(request: web.Request, session: Session) -> None:
    """Check that a page of this server meant *request*, which the cookie of *session* authenticates.

    Raises:
        Forbidden: It may change something, and says that it comes from elsewhere, or has not the CSRF token.
    """
    if request.method in _SAFE:
        return
    check_origin(request)
    given = request.headers.getall(CSRF, ())
    if len(given) != 1:
        raise Forbidden(
            f"The session's cookie alone opens reading only: this needs the header {CSRF}, once, with the csrfToken"
            " that GET /v1/session answers."
        )
    if not hmac.compare_digest(given[0].encode(errors="surrogateescape"), session.csrf_token.encode()):
        raise Forbidden(
            f"The header {CSRF} does not hold the csrfToken of this session, which GET /v1/session answers."
        )


def check_origin(request: web.Request) -> None:
    """Check that *request* does not say that a page from elsewhere sent it; programs say nothing of that.

    Raises:
        Forbidden: It does.
    """
    site, origin = request.headers.get(_SITE), request.headers.get(hdrs.ORIGIN)
    if site is not None and site.strip().lower() not in _OWN_SITES:
        raise Forbidden(f"{_SITE} says that a page of another origin sent this request; sessions are for the console.")
    if site is None and origin is not None and not _is_own(request, origin):
        raise Forbidden(
            "Origin names another server than this one; sessions are for the console. If a proxy is between them, set"
            " SIGNAL_BROKER_PUBLIC_URL."
        )


def _is_own(request: web.Request, origin: str) -> bool:
    """Return whether *origin* is where the caller reaches this server, whose scheme a proxy may have kept to itself."""
    try:
        there, here = urlsplit(origin), urlsplit(public_url(request, ""))
        same_port = (there.port or _PORTS.get(there.scheme)) == (here.port or _PORTS.get(there.scheme))
    except ValueError:
        return False
    secured = here.scheme == "https" and there.scheme != "https"
    return there.hostname == here.hostname and there.hostname is not None and same_port and not secured


def _cookie(request: web.Request) -> _Cookie:
    """Return the cookie's name and place; a browser lets nobody else set one with such a prefix (RFC 6265bis)."""
    parts = urlsplit(public_url(request, ""))
    path, is_secure = parts.path or "/", parts.scheme == "https"
    prefix = "" if not is_secure else "__Host-" if path == "/" else "__Secure-"
    return _Cookie(prefix + NAME, path, is_secure)
