"""``/v1/subscriptions/{id}``: how a subscription stands, what waits for it, and whether it is to wait."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission
from broker.deliveries import DeliveryState
from broker.settings import Settings
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import Subscription
from gateway.auth import Authenticator, demand
from gateway.bodies import dump, parse, read_json
from gateway.http_errors import NotFound
from gateway.native.answers import render_subscription
from gateway.native.subscriptions import visible_subscription
from gateway.routes import Route
from gateway.schemas.subscriptions import BacklogSchema, ResumptionRequest, SubscriptionSchema


class StandingsApi:
    """Shows, pauses and resumes subscriptions."""

    def __init__(
        self,
        subscriptions: SubscriptionStore,
        pausing: PausingStore,
        deliveries: DeliveryStore,
        auth: Authenticator,
        settings: Settings,
    ) -> None:
        self._subscriptions = subscriptions
        self._pausing = pausing
        self._deliveries = deliveries
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        one = "/v1/subscriptions/{id}"
        return [
            Route("GET", one, self.get, "Show a subscription", {200: SubscriptionSchema}),
            Route("POST", f"{one}/pause", self.pause, "Pause a subscription", {200: SubscriptionSchema}),
            Route(
                "POST",
                f"{one}/resume",
                self.resume,
                "Resume a subscription",
                {200: SubscriptionSchema},
                ResumptionRequest,
            ),
        ]

    async def get(self, request: web.Request) -> web.Response:
        """Answer one subscription."""
        _, subscription = await visible_subscription(request, self._auth, self._subscriptions)
        return await self._answer(subscription)

    async def pause(self, request: web.Request) -> web.Response:
        """Hold what a subscription is owed, from now on; nothing of it is dropped."""
        subscription = await self._managed(request)
        return await self._answer(await self._pausing.pause(subscription.id))

    async def resume(self, request: web.Request) -> web.Response:
        """Let a subscription that was paused or disabled get its deliveries again, the held ones bit by bit."""
        subscription = await self._managed(request)
        wanted = parse(ResumptionRequest, await read_json(request, self._settings.max_body_bytes) or b"{}")
        return await self._answer(await self._pausing.resume(subscription.id, per_second=wanted.per_second))

    async def _managed(self, request: web.Request) -> Subscription:
        principal, subscription = await visible_subscription(request, self._auth, self._subscriptions)
        demand(principal, Permission.SUBSCRIPTIONS, subscription.spec.name)
        return subscription

    async def _answer(self, subscription: Subscription | None) -> web.Response:
        backlog = None if subscription is None else await self._pausing.backlog(subscription.id)
        if subscription is None or backlog is None:
            raise NotFound("The subscription was deleted just now.")
        books = await self._deliveries.ledger(subscription.id)
        document = render_subscription(
            subscription,
            backlog=BacklogSchema(parked=books.states[DeliveryState.PARKED], oldest=backlog.oldest),
            circuit=backlog.circuit,
        )
        return web.Response(body=dump(document), content_type="application/json")
