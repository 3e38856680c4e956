"""``/v1/signals/tail``: signals as they are recorded, as server-sent events (the HTML standard, section 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import structlog
from aiohttp import hdrs, web

from broker.access import Permission, Principal, require_permission
from broker.errors import InvalidField, StoreUnavailable
from broker.integers import MAX_ID
from broker.names import is_pattern
from broker.operations.tail import Ended, Event, Feed, Lagged, Wanted
from gateway.answer_headers import UNBUFFERED
from gateway.auth import Authenticator
from gateway.http_errors import Busy, HttpError
from gateway.native.queries import ID, TENANT_ID, TEXT, text
from gateway.routes import Parameter, Route, SecuredRoute

MOST = 1_000
"""How many may follow at a time: half of all connections."""
_BEAT = 15.0
"""Seconds after which a comment is sent, and it is asked whether the caller still may follow."""
_DIGITS = 19
"""How many digits the greatest id has."""
_LAST_EVENT_ID = "Last-Event-ID"

log = structlog.get_logger()


class TailApi:
    """Lets callers follow signals."""

    def __init__(self, feed: Feed, auth: Authenticator) -> None:
        self._feed = feed
        self._auth = auth

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "GET",
                "/v1/signals/tail",
                self.tail,
                "Follow signals",
                {200: "text/event-stream"},
                parameters=(
                    Parameter("name", "Only signals whose name matches (patterns allowed).", TEXT),
                    TENANT_ID,
                    Parameter(
                        _LAST_EVENT_ID,
                        "Go on after the signal with this id; without it, with what is recorded from now on.",
                        ID,
                        "header",
                    ),
                ),
                permissions=(Permission.READ,),
                streams=True,
                headers={200: (UNBUFFERED,)},
            )
        ]

    async def tail(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        """Answer with an event for each signal that is recorded, as long as the caller listens.

        An event's `id` is the signal's, and its `data` the signal as `GET /v1/signals/{id}` shows it. Comments keep the
        connection alive. Who reads too slowly gets an event `lagged`, and the answer ends; so it does when the process
        stops, or the credentials are not valid any more. `EventSource` then goes on where it was, by `Last-Event-ID`.
        """
        name = text(request, "name")
        if name is not None and not is_pattern(name):  # a pattern is narrowed to the caller's names
            require_permission(principal, Permission.READ, name)
        wanted = Wanted(principal, name, text(request, "tenantId"))
        after_id = _read_last(request)
        if request.method == hdrs.METH_HEAD:
            return web.Response(content_type="text/event-stream")
        if self._feed.followers >= MOST:
            raise Busy(f"{MOST} callers follow signals here already.")
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", UNBUFFERED.name: "no"}
        )
        response.force_close()
        try:
            async with self._feed.follow(wanted, after_id=after_id) as pages:
                await response.prepare(request)
                async with aclosing(self._chunks(request, principal, pages)) as chunks:
                    with suppress(ConnectionError):
                        await response.write(b"retry: 1000\n\n")
                        async for chunk in chunks:
                            await response.write(chunk)
                        await response.write_eof()
        except Ended:
            raise Busy("This process stops.") from None
        except TimeoutError:  # it stops, and the caller does not read
            _abort(request)
        return response

    async def _chunks(
        self, request: web.Request, principal: Principal, pages: AsyncGenerator[list[Event], None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield what is sent: events, and comments while there are none."""
        coming: asyncio.Future[list[Event]] | None = None
        clock = asyncio.get_running_loop().time
        beat = clock() + _BEAT
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(pages))
                await asyncio.wait([coming], timeout=max(0.0, beat - clock()))
                if clock() >= beat:
                    if not await self._may_go_on(request, principal):
                        return
                    beat = clock() + _BEAT
                    yield b":\n\n"
                if coming.done():
                    events, coming = coming.result(), None
                    yield b"".join(b"id: %d\ndata: %b\n\n" % event for event in events)
        except Lagged:
            log.warning("tail.lagged", principal=principal.name)
            yield b"event: lagged\ndata: {}\n\n"
        except (Ended, StoreUnavailable):
            return
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _may_go_on(self, request: web.Request, principal: Principal) -> bool:
        try:
            return await self._auth.principal_or_session(request) == principal
        except HttpError:
            return False


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _read_last(request: web.Request) -> int | None:
    value = request.headers.get(_LAST_EVENT_ID, "").strip()
    if not value:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > _DIGITS or int(value) > MAX_ID:
        raise InvalidField(_LAST_EVENT_ID, f"must be the id of a signal, an integer from 0 to {MAX_ID}")
    return int(value)
