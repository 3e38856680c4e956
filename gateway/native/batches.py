"""``/v1/signals/batch``: many throws in one request, each accepted or refused by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from aiohttp import web

from broker import metrics
from broker.access import Permission, Principal
from broker.jsonparts import raw_elements, raw_member
from broker.jsontext import encode
from broker.operations.intake import Intake
from broker.operations.throws import throw_item
from broker.schemas.signals import BatchRequest, BatchSchema
from broker.signals import Source
from gateway.answers import answer
from gateway.bodies import parse, read_json
from gateway.dialects import to_http_error
from gateway.headers import THROW_HEADERS, read_key, read_traceparent
from gateway.native.problems import render_problem
from gateway.routes import Route, SecuredRoute


class BatchesApi:
    """Throws signals by the hundreds: they are numbered in a few round trips and published in one pipeline."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "POST",
                "/v1/signals/batch",
                self.throw,
                "Throw a batch of signals",
                {200: BatchSchema},
                BatchRequest,
                THROW_HEADERS,
                permissions=(Permission.THROW,),
            )
        ]

    async def throw(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 200 once each signal is safe or refused. Their ids ascend in the order of the batch.

        With an `Idempotency-Key`, each signal's position in the batch is part of its key: if the batch is sent again,
        only those signals that were not accepted before are thrown.
        """
        body = await read_json(request)
        items: deque[object] = deque(parse(BatchRequest, body).signals)
        raw = raw_elements(raw_member(body, "signals") or b"[]")
        key, traceparent = read_key(request, principal, b""), read_traceparent(request)

        async def throw(position: int, text: bytes) -> Mapping[str, object]:
            own_key = None if key is None else f"{key.key}/{position}"
            try:
                accepted = await throw_item(
                    self._intake, principal, items.popleft(), text, key=own_key, traceparent=traceparent
                )
            except Exception as error:  # noqa: BLE001  (it is this throw's answer)
                error = to_http_error(request, error)
                metrics.REFUSED.labels(Source.NATIVE.value, str(error.status.value)).inc()
                return {"status": error.status.value, "problem": render_problem(error, within=f"/signals/{position}")}
            return {"status": 202, "id": accepted.signal.id}

        results = await asyncio.gather(*(throw(position, text) for position, text in enumerate(raw)))
        return answer(encode({"results": results}))
