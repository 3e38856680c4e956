"""Authentication: every form of credentials that the dialects' clients send."""

from __future__ import annotations

import asyncio
import binascii
import hmac
from base64 import b64decode
from datetime import timedelta

from aiohttp import hdrs, web
from multidict import CIMultiDict

from broker.access import ADMINISTRATOR, COMMAND_LINE, Principal, digest, is_endpoint_token
from broker.settings import Settings
from broker.store.administration.access_cache import AccessCache
from broker.store.administration.sessions import KeptSession, SessionStore, SignIn
from gateway.callers import CALLER, network_of
from gateway.forwarding import caller_address
from gateway.http_errors import Busy, Unauthenticated
from gateway.oidc.issuer import Issuer
from gateway.oidc.keys import IssuerUnavailable
from gateway.passwords import Passwords
from gateway.sessions import Session, check_intent, csrf_token, read_cookie

BEARER = 'Bearer realm="signal-broker"'
BASIC = 'Basic realm="signal-broker", charset="UTF-8"'
_OF_BROWSERS = (hdrs.ACCEPT_LANGUAGE, "Sec-Fetch-Mode", hdrs.ORIGIN)
_MAX_TOKEN = 512
_RETRY_AFTER = 10
"""Seconds after which an issuer that did not answer may."""
_SESSIONS_AT_ONCE = 2
"""Sessions that are looked up at a time: a flood of made-up cookies leaves other connections of the pool to throws."""


class Authenticator:
    """Authenticates callers by their tokens (of the settings, the store or an issuer), and users by their passwords.

    Browsers are known by the cookie of a session, which stands for one of these. Commands on the same machine have the
    *local_token* of the process.
    """

    def __init__(
        self,
        cache: AccessCache,
        passwords: Passwords,
        settings: Settings,
        issuer: Issuer | None,
        sessions: SessionStore,
        *,
        local_token: str | None = None,
    ) -> None:
        self._cache = cache
        self._issuer = issuer
        self._passwords = passwords
        self._sessions = sessions
        self._session_lookups = asyncio.Semaphore(_SESSIONS_AT_ONCE)
        self._session_timeout: timedelta = settings.store_timeout
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
            given = read_user(header)
            if given is None:
                return None
            user = await self._passwords.sign_in(*given, network_of(caller_address(request)))
            return _note(request, None if user is None else user.principal)
        return _note(request, await self._holder(read_token(header)))

    async def _holder(self, token: str) -> Principal | None:
        """Return the principal of *token*, whatever it opens; None if it is not good."""
        if not token or not token.isascii():
            return None
        own = self._own_principal(digest(token))
        if own is not None:
            return own
        if self._issuer is not None and _is_of_issuer(token):
            try:
                return await self._issuer.principal(token)
            except IssuerUnavailable as error:
                raise Busy(str(error), retry_after=_RETRY_AFTER) from None
        if len(token) > _MAX_TOKEN:
            return None
        return await self._cache.caller(token)

    def _own_principal(self, token_digest: bytes) -> Principal | None:
        matching = [principal for own, principal in self._own if hmac.compare_digest(own, token_digest)]
        return matching[0] if matching else None

    async def sign_in_with_token(self, token: str, request: web.Request) -> SignIn | None:
        """Return what the caller of *request* signs in with by an API token, or one of the issuer; None if it is wrong.

        Raises:
            TooMany: It is wrong, and too many sign-ins from there failed.
            Busy: The issuer of the token does not answer.
        """
        principal = await self._holder(token)
        if principal is None or principal.endpoint_id is not None:
            self._passwords.count_failure(network_of(caller_address(request)))
            return None
        credential = digest(token)
        if self._issuer is None or principal.token_id is not None or self._own_principal(credential) is not None:
            return SignIn(principal=principal, credential=credential, expires_at=principal.expires_at)
        ends_at = self._issuer.ends_at(token)
        return SignIn(principal=principal, credential=credential, expires_at=ends_at, is_of_issuer=True)

    async def sign_in_with_password(self, name: str, password: str, request: web.Request) -> SignIn | None:
        """Return what the caller of *request* signs in with as a user; None as for `Passwords.sign_in`.

        Raises:
            TooMany: Too many sign-ins from there failed.
            Busy: Too many passwords wait to be checked.
        """
        user = await self._passwords.sign_in(name, password, network_of(caller_address(request)))
        return None if user is None else SignIn(principal=user.principal, credential=digest(user.password))

    async def session(self, request: web.Request) -> Session | None:
        """Return the session whose cookie *request* has; None without one, or if it or its credential has ended.

        Raises:
            StoreUnavailable, TimeoutError: PostgreSQL does not answer.
        """
        value = read_cookie(request)
        if value is None:
            return None
        async with asyncio.timeout(self._session_timeout.total_seconds()), self._session_lookups:
            kept = await self._sessions.find(value)
        principal = None if kept is None else await self._stand_in(kept)
        if kept is None or principal is None:
            return None
        return Session(id=kept.id, principal=principal, ends_at=kept.ends_at, csrf_token=csrf_token(value))

    async def _stand_in(self, kept: KeptSession) -> Principal | None:
        """Return whom a session stands for; None if its credential opens nothing any more."""
        if kept.user_name is not None:
            user = await self._cache.user(kept.user_name)
            return None if user is None else user.principal
        if kept.claimed is not None:
            return None if self._issuer is None else kept.claimed
        return self._own_principal(kept.credential) or await self._cache.caller_of(kept.credential)

    async def principal_or_session(self, request: web.Request) -> Principal:
        """Return the principal that sent *request*, by ``Authorization`` if it has that, else by a session's cookie.

        Raises:
            Unauthenticated, TooMany, Busy: As for `principal`.
            Forbidden: There is a session, and the request is not known to be meant by a page of this server.
        """
        session = None if hdrs.AUTHORIZATION in request.headers else await self.session(request)
        if session is None:
            return await self.principal(request)
        _note(request, session.principal)
        check_intent(request, session)
        return session.principal

    async def endpoint_caller(self, request: web.Request) -> Principal | None:
        """Return the principal of the endpoint token in *request*, or None without a valid one.

        ``Authorization: Bearer <token>`` or the bare token. Other credentials are ignored, and no password is checked.
        """
        token = read_token(request.headers.get(hdrs.AUTHORIZATION, "").strip())
        return _note(request, await self._cache.caller(token)) if is_endpoint_token(token) else None

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


def _note(request: web.Request, principal: Principal | None) -> Principal | None:
    """Note that *principal* sent *request*, for the log, and return it."""
    if principal is not None:
        request[CALLER] = principal.name
    return principal


def challenges(request: web.Request) -> CIMultiDict[str]:
    """Return what opens the gateway, for the answer to *request*: many programs send Basic only once it is asked for.

    A browser is not asked: it would show a dialog over the console, remember the password, and send it along with
    requests of any page. It is known by headers that every browser sends, and hardly any program.
    """
    schemes = [BEARER] if any(name in request.headers for name in _OF_BROWSERS) else [BEARER, BASIC]
    return CIMultiDict((hdrs.WWW_AUTHENTICATE, scheme) for scheme in schemes)


def _is_of_issuer(token: str) -> bool:
    """Return whether *token* has the form of a JWT."""
    return token.count(".") == 2


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
