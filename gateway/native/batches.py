"""``/v1/signals/batch``: many throws in one request, each accepted or refused by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from aiohttp import web

from broker import metrics
from broker.access import Permission, Principal
from broker.errors import InvalidDocument, InvalidField
from broker.jsonparts import raw_elements, raw_member
from broker.jsontext import encode
from broker.operations.intake import Accepted, Intake
from broker.operations.throws import check_execution, read_item
from broker.schemas.signals import BatchRequest, BatchSchema
from broker.signals import Source, Throw
from broker.store.signals.signals import IdempotencyKey
from broker.tracing import TraceContext
from gateway.answers import answer
from gateway.bodies import parse, read_json
from gateway.dialects import to_http_error
from gateway.headers import THROW_HEADERS, read_hops, read_key, read_trace
from gateway.native.problems import render_problem
from gateway.offloading import offload
from gateway.routes import Route, SecuredRoute

_AT_ONCE = 100
"""How many throws of a batch are under way: they go on together, and other requests wait until all have."""

MOST = 1000
"""How many signals one request may throw."""

Item = tuple[Throw, IdempotencyKey | None] | Exception
"""A throw of a batch with its idempotency key, or why it is refused."""
Accept = Callable[[Throw, IdempotencyKey | None], Awaitable[Accepted]]


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
        key = read_key(request, principal, b"")
        read = partial(
            _read_items,
            principal,
            body,
            key=None if key is None else key.key,
            trace=read_trace(request),
            hops=read_hops(request),
        )

        items = await offload(request, read, size=len(body))

        async def accept(wanted: Throw, own_key: IdempotencyKey | None) -> Accepted:
            return await self._intake.accept(
                wanted, tenants=principal.tenants, key=own_key, check=partial(check_execution, principal, wanted)
            )

        return await throw_each(request, items, accept, within="/signals")


async def throw_each(request: web.Request, items: Sequence[Item], accept: Accept, *, within: str) -> web.Response:
    """Return the answer once each of *items* is accepted or refused, with their results in their order.

    *within* is the pointer of the array that they are in.
    """

    async def throw(position: int, item: Item) -> Mapping[str, object]:
        if isinstance(item, Exception):
            return refused(position, item)
        try:
            accepted = await accept(*item)
        except Exception as error:  # noqa: BLE001  (it is this throw's answer)
            return refused(position, error)
        return {"status": 202, "id": accepted.signal.id}

    def refused(position: int, error: Exception) -> Mapping[str, object]:
        refusal = to_http_error(request, _moved(error, f"{within}/{position}"))
        metrics.REFUSED.labels(Source.NATIVE.value, str(refusal.status.value)).inc()
        return {"status": refusal.status.value, "problem": render_problem(refusal)}

    results: list[Mapping[str, object]] = [{}] * len(items)
    waiting = enumerate(items)

    async def throw_on() -> None:
        for position, item in waiting:
            results[position] = await throw(position, item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_AT_ONCE, len(items))):
            group.create_task(throw_on())
    return answer(encode({"results": results}))


def _moved(error: Exception, within: str) -> Exception:
    """Return *error*, which is about a part of the body, with pointers from the top; *within* is that part's."""
    match error:
        case InvalidField():
            return InvalidField(within + error.pointer, error.detail)
        case InvalidDocument():
            return InvalidDocument([InvalidField(within + one.pointer, one.detail) for one in error.errors])
        case _:
            return error


def _read_items(
    principal: Principal, body: bytes, *, key: str | None, trace: TraceContext | None, hops: int
) -> list[Item]:
    """Return for each signal of the batch *body* its throw with its idempotency key, or why there is none.

    The values of the batch may take many times the memory of its text, and are left behind one by one.
    """
    items: deque[object] = deque(parse(BatchRequest, body).signals)
    read: list[Item] = []
    for position, text in enumerate(raw_elements(raw_member(body, "signals") or b"[]")):
        own_key = None if key is None else f"{key}/{position}"
        try:
            read.append(read_item(principal, items.popleft(), text, key=own_key, trace=trace, hops=hops))
        except Exception as error:  # noqa: BLE001  (it is this throw's answer)
            read.append(error)
    return read
