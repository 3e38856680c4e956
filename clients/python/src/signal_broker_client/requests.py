"""Requests of the API, without the connection that sends them: both clients have these in common."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from .calls.texts import one_line
from .errors import Refused, Unreadable
from .subscribing import subscription_body
from .throws import Throw

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""An answer that is longer is given up: a page of the API ends long before."""
_MOST_IN_BATCH = 1000
_OF_PROXIES = {404, 405, 410}
"""Statuses that say something of what was asked for only in an answer that is the server's own."""
_WITH_ID = {"id": int}
_WRONG_URL = "is the URL that of a signal-broker?"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?![\t ])[\t\x20-\x7E\xA0-\xFF]*(?<![\t ])")
_NO_JSON: Final = object()


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request.

    Args:
        method: Its method.
        path: Its path and query.
        content: Its body, JSON.
        headers: Its headers besides credentials and content type.
        repeatable: Whether it may be sent again if it is not known whether it was carried out.
        persistent: Whether it is sent until there is an answer, whatever the client's patience; warnings say why there
            is none.
        wait: How many seconds the server may wait before it begins to answer.
        members: What the object that is its answer has at least, with the types; None if the answer is looked at no
            further.
    """

    method: str
    path: str
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    persistent: bool = False
    wait: float = 0
    members: Mapping[str, type] | None = None

    def under(self, headers: Mapping[str, str] | None) -> Request:
        """Return it with *headers* besides its own.

        Raises:
            ValueError: One of them cannot be sent.
        """
        for name, value in (headers or {}).items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"headers: {name!r} cannot be the name of a header")
            if not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"headers: the value of {name!r} must be printable characters of Latin-1")
        return replace(self, headers={**(headers or {}), **self.headers})


def post(
    path: str,
    document: object,
    *,
    key: str | None = None,
    repeatable: bool = True,
    persistent: bool = False,
    wait: float = 0,
    members: Mapping[str, type] | None = None,
) -> Request:
    """Return a request that posts *document*, under an idempotency *key* if there is one."""
    headers = {} if key is None else {"Idempotency-Key": key}
    content = encode(document)
    return Request(
        method="POST",
        path=path,
        content=content,
        headers=headers,
        repeatable=repeatable,
        persistent=persistent,
        wait=wait,
        members=members,
    )


class Answer(NamedTuple):
    """An answer: its status, its headers `Retry-After` and `Location`, and its body; None if that cannot be decoded."""

    status: int
    retry_after: str | None
    location: str | None
    body: bytes | None


def patch(path: str, document: object, *, persistent: bool = False) -> Request:
    """Return a request that changes what is at *path*."""
    return Request(method="PATCH", path=path, content=encode(document), persistent=persistent)


def throwing(throw: Throw) -> Request:
    """Return the request of *throw*, under a key by which a repeat is the same signal."""
    return post("/v1/signals", throw.body, key=throw.idempotency_key or secrets.token_urlsafe(18), members=_WITH_ID)


def throwing_batch(throws: Iterable[Throw]) -> Request:
    """Return the request of 1 to 1,000 *throws*.

    Raises:
        ValueError: There are none, or more.
    """
    items = [
        one.body | ({} if one.idempotency_key is None else {"idempotencyKey": one.idempotency_key}) for one in throws
    ]
    if not 1 <= len(items) <= _MOST_IN_BATCH:
        raise ValueError(f"a batch has 1 to {_MOST_IN_BATCH} throws, not {len(items)}")
    return post("/v1/signals/batch", {"signals": items}, key=secrets.token_urlsafe(18), members={"results": list})


def subscribing(
    name: str, target: Mapping[str, object] | None, options: Mapping[str, object], *, if_absent: bool = False
) -> Request:
    """Return the request that subscribes *target*; only *if_absent*, a repeat makes no second subscription."""
    path = "/v1/subscriptions" + ("?ifAbsent=true" if if_absent else "")
    return post(path, subscription_body(name, target, options), repeatable=if_absent, members=_WITH_ID)


def explaining(throw: Throw, after: str | None) -> Request:
    """Return the request for who would get *throw*: the page behind *after*."""
    path = "/v1/signals/explain" + ("" if after is None else f"?afterId={after}")
    return post(path, throw.body, members={"matches": list})


def tailing(name: str | None, tenant_id: str | None, last_id: str | None) -> Request:
    """Return the request that follows signals from now on, or after the signal *last_id*."""
    wanted = {"name": name, "tenantId": tenant_id}
    given = {key: _escaped(value) for key, value in wanted.items() if value is not None}
    query = "&".join(f"{key}={value}" for key, value in given.items())
    headers = {"Accept": "text/event-stream"} | ({} if last_id is None else {"Last-Event-ID": last_id})
    return Request(method="GET", path="/v1/signals/tail" + (f"?{query}" if query else ""), headers=headers)


def _escaped(text: str) -> str:
    """Return *text* percent-encoded for a query; the server refuses half of a surrogate pair, and says so."""
    return quote(text, safe="", errors="surrogatepass")


def read_answer(answer: Answer, request: Request) -> object:
    """Return the document of the *answer* to *request*; None if it has no body.

    Raises:
        Refused: The status is not 2xx.
        Unreadable: The body is no JSON, or no object with the request's members; or a persistent request was answered
            404, or the like, by a proxy that does not find the server.
    """
    document = _document(answer.body)
    if request.persistent and answer.status in _OF_PROXIES and not isinstance(document, dict):
        raise Unreadable(f"the server answered {answer.status} and no problem document: {_WRONG_URL}")
    if not 200 <= answer.status < 300:
        raise Refused(answer.status, document if isinstance(document, dict) else {"title": _title(answer)})
    if document is _NO_JSON:
        raise Unreadable(f"the answer is not JSON: {_WRONG_URL}")
    if request.members is not None:
        found: dict[str, Any] = document if isinstance(document, dict) else {}
        for name, kind in request.members.items():
            if not isinstance(found.get(name), kind):
                raise Unreadable(f"the answer ({answer.status}) is no object with `{name}`: {_WRONG_URL}")
    return document


def check_stream(content_type: str) -> None:
    """Check that an answer with this `Content-Type` is a stream of events.

    Raises:
        Unreadable: It is none.
    """
    if content_type.partition(";")[0].strip().lower() != "text/event-stream":
        shown = f"is {content_type!r}" if content_type else "has no content type"
        raise Unreadable(f"the answer {shown} and no stream of events: {_WRONG_URL}")


def _document(body: bytes | None) -> object:
    if body is None:
        return _NO_JSON
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return _NO_JSON


def _title(answer: Answer) -> str:
    """Return what is said of a refusal without a problem document."""
    if 300 <= answer.status < 400:
        where = f" to {one_line(answer.location)}" if answer.location else ""
        return f"it redirects{where}, which is not followed: {_WRONG_URL}"
    return one_line(" ".join((answer.body or b"")[:200].decode(errors="replace").split()))


def encode(document: object, *, allow_nan: bool = False) -> bytes:
    """Return *document* as JSON in UTF-8; if a text holds half of a surrogate pair, with escapes."""
    write = partial(json.dumps, document, separators=(",", ":"), allow_nan=allow_nan)
    try:
        return write(ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return write().encode()
