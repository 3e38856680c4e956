"""``/v1/signals/explain``: which subscriptions a signal would match, which not, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from aiohttp import web

from broker.access import Permission, Principal
from broker.deliveries import EXCEEDED
from broker.integers import MAX_ID
from broker.matching import Exceeded, Matcher
from broker.operations.throws import check_execution, read_throw
from broker.schemas.signals import Explanation, ExplanationPage, SignalRequest
from broker.signals import Signal
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import Subscription, belonging_to_execution
from gateway.answers import answer
from gateway.bodies import parse, read_json
from gateway.callers import is_gone
from gateway.http_errors import Busy
from gateway.native.queries import AFTER_ID, LIMIT, MAX_LIMIT, integer, next_of
from gateway.offloading import offload
from gateway.routes import Parameter, Route, SecuredRoute

_SECONDS = 3.0
"""How long a page is worked on, the time that others get meanwhile included."""
_DEADLINE = 10.0
"""How long a request may wait besides for its turn among others that take long."""
_LIMIT = Parameter(LIMIT.name, LIMIT.meaning, {**LIMIT.schema, "default": MAX_LIMIT})


class ExplainApi:
    """Matches a signal with every subscription that the caller sees, as the recorder would, and throws nothing."""

    def __init__(self, subscriptions: SubscriptionStore, matcher: Matcher) -> None:
        self._subscriptions = subscriptions
        self._matcher = matcher

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

        To ask about one subscription only, set `afterId` to its id - 1 and `limit` to 1. A page may hold fewer than
        `limit` if filters take long.
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
        try:
            async with asyncio.timeout(_DEADLINE):
                matches = await self._match(request, signal, page.items)
        except TimeoutError:
            raise Busy("Other explanations take too long.") from None
        following = page.following if len(matches) == len(page.items) else matches[-1].subscription_id
        return answer(ExplanationPage(matches=matches, next=next_of(following)))

    async def _match(self, request: web.Request, signal: Signal, page: Sequence[Subscription]) -> list[Explanation]:
        """Explain *page*, or its beginning: what takes no longer than `_SECONDS`, and while the client is there."""
        clock, explained = asyncio.get_running_loop().time, list[Explanation]()
        end = clock() + _SECONDS
        async with self._matcher.slice() as turn:
            for subscription in page:
                try:
                    mismatch = await self._matcher.mismatch(subscription, signal, turn)
                except Exceeded:
                    mismatch = f"the {EXCEEDED}: the delivery would be dead"
                explained.append(_explanation(subscription, mismatch))
                if clock() > end or is_gone(request):
                    break
        return explained


def _explanation(subscription: Subscription, mismatch: str | None) -> Explanation:
    return Explanation(
        subscription_id=subscription.id,
        matches=mismatch is None,
        because=mismatch or "name, scope and filter match",
    )
