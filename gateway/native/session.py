"""``/v1/session``: the session of a browser, which the console signs in with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from aiohttp import hdrs, web

from broker.errors import InvalidDocument, InvalidField
from broker.schemas.access import SessionRequest, SessionSchema
from broker.store.administration.sessions import Replaced, SessionStore, SignIn
from gateway.answer_headers import COOKIE
from gateway.answers import answer
from gateway.auth import Authenticator, challenges
from gateway.bodies import check_json, parse, read_body
from gateway.http_errors import Unauthenticated
from gateway.openapi import SESSION
from gateway.routes import OpenRoute, Parameter, Route
from gateway.sessions import (
    CSRF,
    Session,
    check_intent,
    check_origin,
    clear_cookie,
    csrf_token,
    make_value,
    set_cookie,
)

_MOST_BYTES = 16 * 1024
"""What a body may have: a token of an issuer has 8,000 characters at most."""
_CSRF = Parameter(CSRF, "The session's `csrfToken`.", {"type": "string", "maxLength": 255}, "header")


class SessionApi:
    """Signs browsers in and out, and tells them who they are."""

    def __init__(self, sessions: SessionStore, auth: Authenticator) -> None:
        self._sessions = sessions
        self._auth = auth

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        path = "/v1/session"
        return [
            OpenRoute(
                "POST",
                path,
                self.start,
                "Sign in",
                {201: SessionSchema},
                SessionRequest,
                refusals=(401, 403, 429),
                headers={201: (COOKIE,)},
            ),
            OpenRoute("GET", path, self.show, "Show the session", {200: SessionSchema}, credentials=SESSION),
            OpenRoute(
                "DELETE",
                path,
                self.end,
                "Sign out",
                {204: None},
                parameters=(_CSRF,),
                credentials=SESSION,
                headers={204: (COOKIE,)},
            ),
        ]

    async def start(self, request: web.Request) -> web.Response:
        """Answer 201 with the session, and set its cookie. It ends 12 hours later, or with its credential.

        The session that the browser had ends. 401 if the credential is wrong, 429 after too many wrong ones, or too
        many sessions of the principal within an hour. 403 for pages of other origins.
        """
        check_origin(request)
        check_json(request)
        wanted = parse(SessionRequest, await read_body(request, _MOST_BYTES))
        signed_in = await self._sign_in(wanted, request)
        value = make_value()
        before = await self._auth.session(request)
        replaced = None if before is None else Replaced(before.id, before.ends_at, before.principal)
        started = None if signed_in is None else await self._sessions.start(value, signed_in, replaced=replaced)
        if signed_in is None or started is None:
            raise Unauthenticated("The token, or the name and the password, are wrong.", headers=challenges(request))
        number, ends_at = started
        session = Session(id=number, principal=signed_in.principal, ends_at=ends_at, csrf_token=csrf_token(value))
        response = answer(_render(session), status=201)
        seconds = (ends_at - datetime.now(UTC)).total_seconds()
        set_cookie(request, response, value, seconds=max(1, round(seconds)))
        return response

    async def _sign_in(self, wanted: SessionRequest, request: web.Request) -> SignIn | None:
        wrong = _find_wrong(wanted)
        if wrong:
            raise InvalidDocument(wrong)
        if wanted.token is not None:
            return await self._auth.sign_in_with_token(wanted.token, request)
        return await self._auth.sign_in_with_password(wanted.user or "", wanted.password or "", request)

    async def show(self, request: web.Request) -> web.Response:
        """Answer the session whose cookie the request has, and its `csrfToken`; 401 without one."""
        return answer(_render(await self._present(request)))

    async def end(self, request: web.Request) -> web.Response:
        """End the session, on every gateway, and clear its cookie."""
        session = await self._present(request)
        check_intent(request, session)
        await self._sessions.end(session.id, session.ends_at, by=session.principal)
        response = web.Response(status=204)
        clear_cookie(request, response)
        return response

    async def _present(self, request: web.Request) -> Session:
        if hdrs.AUTHORIZATION in request.headers:
            raise Unauthenticated(
                "There is no session: these credentials are for each request alone.", headers=challenges(request)
            )
        session = await self._auth.session(request)
        if session is None:
            raise Unauthenticated("There is no session, or it has ended: sign in.", headers=challenges(request))
        return session


def _find_wrong(wanted: SessionRequest) -> Sequence[InvalidField]:
    """Return what is wrong with the choice of members: there must be a token, or a user and a password."""
    if wanted.token is None and wanted.user is None and wanted.password is None:
        return [InvalidField("/token", "is required, or user and password")]
    wrong = []
    for name, value in (("user", wanted.user), ("password", wanted.password)):
        if wanted.token is not None and value is not None:
            wrong.append(InvalidField(f"/{name}", "must not be there beside token"))
        elif wanted.token is None and value is None:
            wrong.append(InvalidField(f"/{name}", "is required without token"))
    return wrong


def _render(session: Session) -> SessionSchema:
    principal = session.principal
    return SessionSchema(
        principal=principal.name,
        permissions=sorted(permission.value for permission in principal.permissions),
        names=None if principal.names is None else list(principal.names),
        tenants=None if principal.tenants is None else list(principal.tenants),
        untenanted=principal.untenanted,
        expires_at=session.ends_at,
        csrf_token=session.csrf_token,
    )
