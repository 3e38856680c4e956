"""``/v1/signals/batch``: many throws in one request, each accepted or refused by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from broker import metrics
from broker.access import Permission, Principal
from broker.jsontext import encode
from broker.settings import Settings
from broker.signals import Source
from gateway.auth import Authenticator, demand
from gateway.bodies import parse, raw_elements, raw_member, read_json, validate
from gateway.dialects import to_http_error
from gateway.headers import THROW_HEADERS, make_key, read_key, read_traceparent
from gateway.intake import Accepted, Intake
from gateway.native.throws import admitting, read_throw
from gateway.problems import render_problem
from gateway.routes import Route
from gateway.schemas.signals import BatchItem, BatchRequest, BatchSchema


class BatchesApi:
    """Throws signals by the hundreds: they are numbered in a few round trips and published in one pipeline."""

    def __init__(self, intake: Intake, auth: Authenticator, settings: Settings) -> None:
        self._intake = intake
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        return [
            Route(
                "POST",
                "/v1/signals/batch",
                self.throw,
                "Throw a batch of signals",
                {200: BatchSchema},
                BatchRequest,
                THROW_HEADERS,
            )
        ]

    async def throw(self, request: web.Request) -> web.Response:
        """Answer 200 once each signal is safe or refused. Their ids ascend in the order of the batch.

        With an `Idempotency-Key`, each place in the batch is remembered with what stood there: sent again, only what
        was not accepted before becomes a signal.
        """
        principal = await self._auth.principal(request)
        demand(principal, Permission.THROW)
        body = await read_json(request, self._settings.max_body_bytes)
        items = parse(BatchRequest, body).signals
        raw = raw_elements(raw_member(body, "signals") or b"[]")
        key, traceparent = read_key(request, principal, b""), read_traceparent(request)

        async def throw(position: int, item: object, text: bytes) -> Mapping[str, object]:
            own_key = None if key is None else f"{key.key}/{position}"
            try:
                accepted = await throw_item(self._intake, principal, item, text, key=own_key, traceparent=traceparent)
            except Exception as error:  # noqa: BLE001  (it is this throw's answer)
                error = to_http_error(request, error)
                metrics.REFUSED.labels(Source.NATIVE.value, str(error.status.value)).inc()
                return {"status": error.status.value, "problem": render_problem(error)}
            return {"status": 202, "id": accepted.signal.id}

        pairs = enumerate(zip(items, raw, strict=True))
        results = await asyncio.gather(*(throw(position, item, text) for position, (item, text) in pairs))
        return web.Response(body=encode({"results": results}), content_type="application/json")


async def throw_item(
    intake: Intake,
    principal: Principal,
    item: object,
    body: bytes,
    *,
    key: str | None = None,
    traceparent: str | None = None,
) -> Accepted:
    """Throw one *item* of a batch, JSON as Python has it, read from the text *body*.

    *key* is its idempotency key, unless it has one of its own.

    Raises:
        BadRequest, InvalidField, Forbidden: It is wrong, or *principal* may not throw it.
        Conflicting, StoreUnavailable, TransportError: As for `Intake.accept`.
    """
    wanted = validate(BatchItem, item)
    throw = read_throw(principal, wanted, body, traceparent)
    own = wanted.idempotency_key or key
    return await intake.accept(
        throw,
        key=None if own is None else make_key(own, principal, b"batch\0" + body),
        admit=admitting(principal),
    )
