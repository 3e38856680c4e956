"""Request headers that every dialect reads."""

from __future__ import annotations

from aiohttp import web

from broker.access import Principal
from broker.hops import BAGGAGE, HEADER, LIMIT
from broker.hops import read_hops as _read_hops
from broker.operations.idempotency import MAX_KEY, make_key
from broker.store.signals.signals import IdempotencyKey
from broker.tracing import Span, TraceContext, read_context
from broker.tracing.contexts import PARENT, STATE
from gateway.routes import Parameter

SPAN = web.RequestKey("span", Span)
"""The span of a request that throws signals, if there are traces."""

THROW_HEADERS = (
    Parameter(
        "Idempotency-Key",
        "Makes repeating safe: for 24 hours a throw with the same key and body is answered as the first one was, and"
        " one with another body is refused with 409.",
        {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]([ -~]*[!-~])?$"},
        "header",
    ),
    Parameter(PARENT, "W3C trace context; it is carried along to the subscribers.", location="header"),
    Parameter(
        STATE,
        "What tracing systems have noted of the `traceparent`, by W3C's rules; it is carried along, 512 characters at"
        " most. Left out if it is invalid.",
        location="header",
    ),
    Parameter(
        HEADER,
        "The number of deliveries that led to this throw: what the last one of them had in this header, or in its"
        f" `baggage`. With {LIMIT} it is refused with 508, because the signals seem to cause each other without end.",
        {"type": "integer", "minimum": 0},
        "header",
    ),
)


def read_trace(request: web.Request) -> TraceContext | None:
    """Return the W3C trace context of what *request* causes: its span's, or else its caller's, if that is valid."""
    span = request.get(SPAN)
    return sent_trace(request) if span is None else span.context


def sent_trace(request: web.Request) -> TraceContext | None:
    """Return the W3C trace context that the caller sent, if it is a valid one."""
    parent = request.headers.get(PARENT)
    return None if parent is None else read_context(parent, request.headers.getall(STATE, ()))


def read_hops(request: web.Request) -> int:
    """Return how many deliveries led to the throw, as far as its caller tells.

    Raises:
        InvalidField: The header is no number.
        EndlessLoop: There were too many.
    """
    return _read_hops(request.headers.getall(HEADER, ()), request.headers.getall(BAGGAGE, ()))


def read_key(request: web.Request, principal: Principal, body: bytes) -> IdempotencyKey | None:
    """Return the request's idempotency key, if it has one. Different callers may use the same key.

    Raises:
        InvalidField: It is empty, too long, or not printable ASCII.
    """
    key = request.headers.get("Idempotency-Key")
    return None if key is None else make_key(key, principal, request.path.encode() + b"\0" + body)
