"""Authentication: every form of credentials that the dialects' clients send."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode

from aiohttp import hdrs, web
from multidict import CIMultiDict

from broker.access import ADMINISTRATOR, COMMAND_LINE, Principal, digest, is_endpoint_token
from broker.settings import Settings
from broker.store.administration.access_cache import AccessCache
from gateway.callers import network_of
from gateway.forwarding import caller_address
from gateway.http_errors import Busy, Unauthenticated
from gateway.oidc.issuer import Issuer
from gateway.oidc.keys import IssuerUnavailable
from gateway.passwords import Passwords

BEARER = 'Bearer realm="signal-broker"'
BASIC = 'Basic realm="signal-broker", charset="UTF-8"'
_OF_BROWSERS = (hdrs.ACCEPT_LANGUAGE, "Sec-Fetch-Mode", hdrs.ORIGIN)
_MAX_TOKEN = 512
_RETRY_AFTER = 10
"""Seconds after which an issuer that did not answer may."""


class Authenticator:
    """Authenticates callers by their tokens (of the settings, the store or an issuer), and users by their passwords.

    Commands on the same machine have the *local_token* of the process.
    """

    def __init__(
        self,
        cache: AccessCache,
        passwords: Passwords,
        settings: Settings,
        issuer: Issuer | None,
        *,
        local_token: str | None = None,
    ) -> None:
        self._cache = cache
        self._issuer = issuer
        self._passwords = passwords
        self._own: list[tuple[bytes, Principal]] = []
        """The digests of tokens that no store has, and whom they stand for."""
        if settings.admin_token is not None:
            self._own.append((digest(settings.admin_token.get_secret_value()), ADMINISTRATOR))
        if local_token is not None:
            self._own.append((digest(local_token), COMMAND_LINE))

    async def caller(self, request: web.Request) -> Principal | None:
        """Return who sent *request*, or None without valid credentials.

        ``Authorization: Bearer <token>``, the bare token, or HTTP Basic.

        Raises:
            TooMany: Too many sign-ins from there failed.
            Busy: Too many passwords wait to be checked, or the issuer of the token does not answer.
        """
        header = request.headers.get(hdrs.AUTHORIZATION, "").strip()
        if scheme_of(header).lower() == "basic":
            user = read_user(header)
            return None if user is None else await self._passwords.sign_in(*user, network_of(caller_address(request)))
        token = read_token(header)
        if not token or not token.isascii():
            return None
        for own, principal in self._own:
            if hmac.compare_digest(own, digest(token)):
                return principal
        if self._issuer is not None and token.count(".") == 2:
            try:
                return await self._issuer.principal(token)
            except IssuerUnavailable as error:
                raise Busy(str(error), retry_after=_RETRY_AFTER) from None
        if len(token) > _MAX_TOKEN:
            return None
        return await self._cache.caller(token)

    async def endpoint_caller(self, request: web.Request) -> Principal | None:
        """Return the principal of the endpoint token in *request*, or None without a valid one.

        ``Authorization: Bearer <token>`` or the bare token. Other credentials are ignored, and no password is checked.
        """
        token = read_token(request.headers.get(hdrs.AUTHORIZATION, "").strip())
        return await self._cache.caller(token) if is_endpoint_token(token) else None

    async def principal(self, request: web.Request) -> Principal:
        """Return the principal that sent *request*.

        Raises:
            Unauthenticated: There are no valid credentials, or they open a signal endpoint only.
            TooMany: Too many sign-ins from there failed.
            Busy: Too many passwords wait to be checked.
        """
        caller = await self.caller(request)
        if caller is None or caller.endpoint_id is not None:
            raise Unauthenticated(
                "Valid credentials are needed: an API token (Authorization: Bearer sb_...), or a user's name and"
                " password (HTTP Basic).",
                headers=challenges(request),
            )
        return caller


def challenges(request: web.Request) -> CIMultiDict[str]:
    """Return what opens the gateway, for the answer to *request*: many programs send Basic only once it is asked for.

    A browser is not asked: it would show a dialog over the console, remember the password, and send it along with
    requests of any page. It is known by headers that every browser sends, and hardly any program.
    """
    schemes = [BEARER] if any(name in request.headers for name in _OF_BROWSERS) else [BEARER, BASIC]
    return CIMultiDict((hdrs.WWW_AUTHENTICATE, scheme) for scheme in schemes)


def scheme_of(header: str) -> str:
    """Return the scheme of an ``Authorization`` header: its first word."""
    return header.partition(" ")[0]


def read_token(header: str) -> str:
    """Return the token in an ``Authorization`` header; the scheme may be missing, as Unleash's clients leave it out."""
    return header.partition(" ")[2].strip() if scheme_of(header).lower() == "bearer" else header


def read_user(header: str) -> tuple[str, str] | None:
    """Return the name and the password in a header of HTTP Basic (RFC 7617, in UTF-8), None if they cannot be read.

    The name ends at the first colon. Padding of the Base64 may be missing.
    """
    encoded = header.partition(" ")[2].strip().rstrip("=")
    try:
        decoded = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode()
    except (binascii.Error, ValueError):  # the latter: not ASCII outside, not UTF-8 inside
        return None
    name, colon, password = decoded.partition(":")
    return (name, password) if colon else None
