"""What the dialects have in common: each owns paths, knows its callers, and answers errors in a form of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from pydantic import BaseModel

from broker.access import Permission, Principal, require_any, require_permission
from broker.errors import (
    EndlessLoop,
    ForeignExecution,
    IdempotencyConflict,
    InvalidDocument,
    InvalidField,
    Nacked,
    NotReceiving,
    PermissionDenied,
    QuotaExceeded,
    SignalBrokerError,
    StoreRefusal,
    StoreUnavailable,
    TransportError,
    Unconfirmed,
    Unroutable,
)
from broker.reasons import reason_of
from broker.store.postgres.database import DataError
from gateway.auth import Authenticator
from gateway.continuing import check_expectation
from gateway.forwarding import caller_address
from gateway.http_errors import (
    BadRequest,
    Broken,
    Busy,
    Conflicting,
    Forbidden,
    HttpError,
    Looping,
    TooMany,
    http_error_for,
)
from gateway.reading import READERS
from gateway.refusals import note_refusal, show
from gateway.routes import Handler, Parameter, Route, SecuredRoute

_NOT_NOW = "The broker cannot take this now: {part}; try again in a moment."
_SERVER = "*"
_MAX_ERRORS = 50
"""How many wrong fields one answer lists."""

_MISSING: tuple[tuple[type[Exception], str], ...] = (
    (StoreRefusal, "PostgreSQL refuses the work"),
    (StoreUnavailable, "PostgreSQL does not answer"),
    (Unroutable, "a queue is missing (`signal-broker topology --apply` declares it)"),
    (Nacked, "a queue refuses messages"),
    (Unconfirmed, "the message was not confirmed in time"),
    (TransportError, "RabbitMQ cannot be reached, or takes no messages"),
    (TimeoutError, "the answer of another part did not come in time"),
)
"""What the errors mean to a caller; the first that fits counts."""

_REFUSALS: dict[type[SignalBrokerError], type[HttpError]] = {
    PermissionDenied: Forbidden,
    ForeignExecution: Conflicting,
    IdempotencyConflict: Conflicting,
    NotReceiving: Conflicting,
    EndlessLoop: Looping,
}

log = structlog.get_logger()


async def authorize(auth: Authenticator, request: web.Request, permissions: Collection[Permission]) -> Principal:
    """Return the principal that sent *request* and has *permissions*.

    Raises:
        Unauthenticated: There are no valid credentials.
        PermissionDenied: The principal lacks one of *permissions*.
        Busy: Too many passwords wait to be checked.
    """
    principal = await auth.principal(request)
    for permission in permissions:
        require_permission(principal, permission)
    return principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One API that the gateway speaks.

    Args:
        name: For logs and metrics.
        prefixes: The paths that are its own; the last dialect has all others.
        answer_error: Puts an error into the dialect's form.
        error: That form, for the documentation.
        error_type: Its content type.
        bare_401: Whether the answer to a caller without valid credentials has no body.
        checks_queries: Whether a query may hold the described parameters only.
        checks_accept: Whether who sends a document has to take one.
        authorize: Returns the principal that sent a request, or raises what the dialect answers to others.
    """

    name: str
    prefixes: tuple[str, ...]
    answer_error: Callable[[HttpError, web.Request], web.Response]
    error: type[BaseModel]
    error_type: str = "application/json"
    bare_401: bool = False
    checks_queries: bool = False
    checks_accept: bool = False
    authorize: Callable[[Authenticator, web.Request, Collection[Permission]], Awaitable[Principal]] = authorize

    def owns(self, path: str) -> bool:
        """Return whether *path* is the dialect's own, in any letter case and with matrix parameters."""
        first = f"{path.lower().replace(';', '/')}/"
        return any(first.startswith(f"{prefix}/") for prefix in self.prefixes)


def dialect_of(path: str, dialects: Sequence[Dialect]) -> Dialect:
    """Return the one of *dialects* that *path* belongs to; repeated slashes count as one."""
    path = re.sub("/+", "/", path)
    return next((dialect for dialect in dialects if dialect.owns(path)), dialects[-1])


def secure(route: Route, dialect: Dialect, auth: Authenticator) -> Handler:
    """Return the handler of *route*, called only for principals that its *dialect* lets pass.

    Credentials and permissions are checked before anything else is read of the request, its body included, and then, if
    the dialect wants that, the names in the query. Those that read then wait for their turn.
    """
    known = tuple(parameter for parameter in route.parameters if parameter.location == "query")
    if not isinstance(route, SecuredRoute):
        return (
            _checking_queries(route.handler, known)
            if dialect.checks_queries and dialect.owns(route.path)
            else route.handler
        )

    async def admit(request: web.Request) -> Principal:
        principal = await dialect.authorize(auth, request, route.permissions)
        if route.alternatives:
            require_any(principal, route.alternatives)
        if dialect.checks_queries:
            _check_query(request, known)
        return principal

    async def handler(request: web.Request) -> web.StreamResponse:
        return await route.handler(request, await admit(request))

    async def read(request: web.Request) -> web.StreamResponse:
        principal = await admit(request)
        async with request.app[READERS].turn(principal.key):
            return await route.handler(request, principal)

    return read if route.method == hdrs.METH_GET and not route.streams else handler


def _checking_queries(handler: Handler, known: Sequence[Parameter]) -> Handler:
    async def checking(request: web.Request) -> web.StreamResponse:
        _check_query(request, known)
        return await handler(request)

    return checking


def _check_query(request: web.Request, known: Sequence[Parameter]) -> None:
    """Check that the query is UTF-8 and holds nothing but *known* parameters, each once.

    Raises:
        InvalidDocument: It holds others. A misspelt filter would otherwise select more than was meant.
    """
    if not request.query_string:
        return
    wrong = [InvalidField(f"?{name[:255]}", "must be percent-encoded UTF-8") for name in _unreadable(request)]
    for name, times in Counter(name for name, _ in request.query.items()).items():
        if not any(parameter.stands_for(name) for parameter in known):
            names = ", ".join(parameter.name for parameter in known)
            allowed = f"allowed are {names}" if names else "there are none here"
            wrong.append(InvalidField(f"?{name[:255]}", f"is no query parameter; {allowed}"))
        elif times > 1:
            wrong.append(InvalidField(f"?{name[:255]}", "must be there once"))
    if wrong:
        raise InvalidDocument(wrong)


def _unreadable(request: web.Request) -> Iterator[str]:
    """Yield the names of parameters that are not UTF-8, or whose values are not: what is read of them was not sent."""
    for pair in request.rel_url.raw_query_string.split("&"):
        try:
            unquote_to_bytes(pair).decode()
        except UnicodeError:
            yield unquote(pair.partition("=")[0], errors="replace")


def error_middleware(dialects: Sequence[Dialect]) -> Middleware:
    """Return the middleware that answers every error in the form of the path's dialect.

    OPTIONS is no error on any path that there is: it is answered 204, and needs no credentials.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            check_expectation(request)
            response = await handler(request)
        except Exception as error:  # noqa: BLE001  (every error has an answer)
            response = _answer_options(request, error) or dialect_of(request.path, dialects).answer_error(
                to_http_error(request, error), request
            )
        return response

    return middleware


def _answer_options(request: web.Request, error: Exception) -> web.Response | None:
    """Return the answer to OPTIONS on a path that there is, or on ``*``, the whole server (RFC 9110, 9.3.7)."""
    if request.method != hdrs.METH_OPTIONS:
        return None
    if request.rel_url.raw_path == _SERVER:
        methods = {route.method for route in request.app.router.routes()} | {hdrs.METH_OPTIONS}
        allow = ", ".join(sorted(methods))
    elif isinstance(error, web.HTTPMethodNotAllowed):
        allow = _allowed_methods(error)
    else:
        return None
    return web.Response(status=204, headers={"Allow": allow})


def _allowed_methods(error: web.HTTPMethodNotAllowed) -> str:
    """Return the methods of the path that *error* is about, as a list for ``Allow``."""
    return ", ".join(sorted(error.allowed_methods | {hdrs.METH_OPTIONS}))


def to_http_error(request: web.Request, error: Exception) -> HttpError:
    """Return what *error* means to the caller, and note it for the log; an error of the gateway's own is logged."""
    cause = None
    if isinstance(error, QuotaExceeded):
        found: HttpError | None = TooMany(str(error), retry_after=error.retry_after)
    else:
        found = _expected(error)
    if found is None and isinstance(error, StoreUnavailable | TransportError | TimeoutError):
        found, cause = Busy(_NOT_NOW.format(part=_what_is_missing(error))), reason_of(error)
    elif found is None:
        found = _defect(request, error)
    note_refusal(request, found, cause=cause)
    return found


def _defect(request: web.Request, error: Exception) -> HttpError:
    """Log *error*, whose fault is ours, and return what it means to the caller."""
    resource = request.match_info.route.resource
    whose = {
        "path": show(request.path),
        "method": request.method,
        "route": None if resource is None else resource.canonical,
        "fault": type(error).__name__,
        "address": caller_address(request),
    }
    if isinstance(error, DataError):  # of what a caller may send, PostgreSQL refuses nothing: the fault is ours, or its
        log.error("request.unstored", **whose, exc_info=error)
        return Busy(_NOT_NOW.format(part="PostgreSQL refused it"))
    log.error("request.failed", **whose, exc_info=error)
    return Broken("Something went wrong here; the log has the details.")


def _what_is_missing(error: StoreUnavailable | TransportError | TimeoutError) -> str:
    """Return which part cannot do its work now, as a clause without what only the log may know."""
    if isinstance(error.__cause__, StoreUnavailable):  # the embedded transport is in PostgreSQL
        return _what_is_missing(error.__cause__)
    if isinstance(error, StoreRefusal) and error.lacks_a_table:
        return "PostgreSQL lacks a table (`signal-broker migrate` creates it)"
    return next(clause for kind, clause in _MISSING if isinstance(error, kind))


def _expected(error: Exception) -> HttpError | None:
    """Return the answer to *error* if it is about the request."""
    match error:
        case HttpError():
            return error
        case InvalidField():
            return BadRequest(f"{error.pointer.removeprefix('/') or 'body'} {error.detail}", errors=[error])
        case InvalidDocument():
            return BadRequest(str(error), errors=error.errors[:_MAX_ERRORS])
        case PermissionDenied() | ForeignExecution() | IdempotencyConflict() | NotReceiving() | EndlessLoop():
            return _REFUSALS[type(error)](str(error))
        case web.HTTPException():
            allow = _allowed_methods(error) if isinstance(error, web.HTTPMethodNotAllowed) else None
            return http_error_for(error.status, error.reason, {"Allow": allow} if allow else None)
        case _:
            return None
