"""``/v1/signals/explain``: who would get a signal, who would not, and why."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from aiohttp import web

from broker.access import Permission
from broker.settings import Settings
from broker.signals import Signal
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import Subscription
from gateway.auth import Authenticator, demand
from gateway.bodies import dump, parse, read_json
from gateway.native.throws import read_throw
from gateway.queries import AFTER_ID, LIMIT, MAX_ID, MAX_LIMIT, integer
from gateway.routes import Parameter, Route
from gateway.schemas.signals import Explanation, ExplanationPage, SignalRequest

_LIMIT = Parameter(LIMIT.name, LIMIT.meaning, {**LIMIT.schema, "default": MAX_LIMIT})


class ExplainApi:
    """Asks every subscription that the caller sees, as the recorder would, and throws nothing."""

    def __init__(self, subscriptions: SubscriptionStore, auth: Authenticator, settings: Settings) -> None:
        self._subscriptions = subscriptions
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        return [
            Route(
                "POST",
                "/v1/signals/explain",
                self.explain,
                "Explain a throw",
                {200: ExplanationPage},
                SignalRequest,
                (AFTER_ID, _LIMIT),
            )
        ]

    async def explain(self, request: web.Request) -> web.Response:
        """Answer, for the subscriptions that the caller sees, whether the signal would be theirs. Nothing is thrown.

        With `afterId` = a subscription's id - 1 and `limit` = 1 it is about that subscription.
        """
        principal = await self._auth.principal(request)
        demand(principal, Permission.SUBSCRIPTIONS)
        after_id, size = integer(request, "afterId", 0), integer(request, "limit", MAX_LIMIT, least=1, most=MAX_LIMIT)
        body = await read_json(request, self._settings.max_body_bytes)
        throw = read_throw(principal, parse(SignalRequest, body), body)
        signal = Signal(id=MAX_ID, created_at=datetime.now(UTC), throw=throw)
        signal.check_moments()
        page = await self._subscriptions.page(after_id=after_id, limit=size, tenants=principal.tenants)
        matches = []
        for subscription in page:
            matches.append(_explanation(subscription, signal))
            await asyncio.sleep(0)  # a filter may take long, and others are waiting
        answer = ExplanationPage(matches=matches, next=str(page[-1].id) if len(page) == size else None)
        return web.Response(body=dump(answer), content_type="application/json")


def _explanation(subscription: Subscription, signal: Signal) -> Explanation:
    mismatch = subscription.mismatch(signal)
    return Explanation(
        subscription_id=subscription.id,
        matches=mismatch is None,
        because=mismatch or "name, scope and filter match",
    )
