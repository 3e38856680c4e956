"""``/v1/signals/explain``: which subscriptions a signal would match, which not, and why."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial

from aiohttp import web

from broker.access import Permission, Principal
from broker.integers import MAX_ID
from broker.operations.throws import check_execution, read_throw
from broker.schemas.signals import Explanation, ExplanationPage, SignalRequest
from broker.signals import Signal
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import Subscription, belonging_to_execution
from gateway.answers import answer
from gateway.bodies import parse, read_json
from gateway.native.queries import AFTER_ID, LIMIT, MAX_LIMIT, integer
from gateway.offloading import offload
from gateway.routes import Parameter, Route, SecuredRoute

_LIMIT = Parameter(LIMIT.name, LIMIT.meaning, {**LIMIT.schema, "default": MAX_LIMIT})


class ExplainApi:
    """Matches a signal with every subscription that the caller sees, as the recorder would, and throws nothing."""

    def __init__(self, subscriptions: SubscriptionStore) -> None:
        self._subscriptions = subscriptions

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "POST",
                "/v1/signals/explain",
                self.explain,
                "Explain a throw",
                {200: ExplanationPage},
                SignalRequest,
                (AFTER_ID, _LIMIT),
                permissions=(Permission.SUBSCRIPTIONS, Permission.THROW),
            )
        ]

    async def explain(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer whether the signal would match each subscription that the caller sees. Nothing is thrown.

        To ask about one subscription only, set `afterId` to its id - 1 and `limit` to 1.
        """
        after_id, size = integer(request, "afterId", 0), integer(request, "limit", MAX_LIMIT, least=1, most=MAX_LIMIT)
        body = await read_json(request)
        throw = await offload(request, lambda: read_throw(principal, parse(SignalRequest, body), body), size=len(body))
        if throw.execution_id is not None:
            waiting = await self._subscriptions.waiting_at(throw.execution_id)
            check_execution(principal, throw, waiting)
            throw = belonging_to_execution(throw, waiting)
        signal = Signal(id=MAX_ID, created_at=datetime.now(UTC), throw=throw)
        signal.check_moments()
        page = await self._subscriptions.page(after_id=after_id, limit=size, by=principal)
        matches = []
        for subscription in page:
            matches.append(await offload(request, partial(_explanation, subscription, signal), size=len(throw.payload)))
            await asyncio.sleep(0)  # a filter may take long, and other requests wait
        return answer(ExplanationPage(matches=matches, next=str(page[-1].id) if len(page) == size else None))


def _explanation(subscription: Subscription, signal: Signal) -> Explanation:
    mismatch = subscription.mismatch(signal)
    return Explanation(
        subscription_id=subscription.id,
        matches=mismatch is None,
        because=mismatch or "name, scope and filter match",
    )
