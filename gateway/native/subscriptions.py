"""``/v1/subscriptions``: standing requests for signals."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal
from broker.egress import Guard
from broker.secrets import SecretBox, make_secret
from broker.settings import Settings
from broker.store.subscriptions import SubscriptionStore
from broker.subscriptions import Kind, Subscription
from gateway.auth import Authenticator, demand, demand_tenant
from gateway.bodies import dump, parse, read_json
from gateway.documents import SubscriptionDocument, SubscriptionPage, SubscriptionRequest
from gateway.native.answers import subscription_document
from gateway.native.requests import read_terms
from gateway.queries import AFTER_ID, EXECUTION_ID, LIMIT, NAME, TENANT_ID, integer, limit, path_id, text
from gateway.refusals import NotFound
from gateway.routes import Route


class SubscriptionsApi:
    """Creates, lists, shows and deletes subscriptions."""

    def __init__(
        self,
        subscriptions: SubscriptionStore,
        secrets: SecretBox,
        guard: Guard,
        auth: Authenticator,
        settings: Settings,
    ) -> None:
        self._subscriptions = subscriptions
        self._secrets = secrets
        self._guard = guard
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        one = "/v1/subscriptions/{id}"
        return [
            Route(
                "POST",
                "/v1/subscriptions",
                self.create,
                "Create a subscription",
                {201: SubscriptionDocument},
                SubscriptionRequest,
            ),
            Route(
                "GET",
                "/v1/subscriptions",
                self.list,
                "List subscriptions",
                {200: SubscriptionPage},
                parameters=(NAME, TENANT_ID, EXECUTION_ID, AFTER_ID, LIMIT),
            ),
            Route("GET", one, self.get, "Show a subscription", {200: SubscriptionDocument}),
            Route("DELETE", one, self.delete, "Delete a subscription", {204: None}),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Answer 201; every signal that is thrown after this answer and matches will be delivered."""
        principal = await self._auth.principal(request)
        wanted = parse(SubscriptionRequest, await read_json(request, self._settings.max_body_bytes))
        terms = read_terms(wanted, self._guard)
        demand(principal, Permission.SUBSCRIPTIONS, terms.name)
        demand_tenant(principal, terms.tenant_id)
        secret = make_secret() if terms.target.kind is Kind.WEBHOOK else None
        subscription = await self._subscriptions.create(
            terms, secret=None if secret is None else self._secrets.seal(secret)
        )
        return web.Response(
            body=dump(subscription_document(subscription, secret)),
            status=201,
            headers={"Location": f"/v1/subscriptions/{subscription.id}"},
            content_type="application/json",
        )

    async def list(self, request: web.Request) -> web.Response:
        """Answer a page of the subscriptions that the caller sees."""
        principal = await self._auth.principal(request)
        demand(principal, Permission.SUBSCRIPTIONS)
        size = limit(request)
        page = await self._subscriptions.page(
            after_id=integer(request, "afterId", 0),
            limit=size,
            name=text(request, "name"),
            tenant_id=text(request, "tenantId"),
            execution_id=text(request, "executionId"),
            tenants=principal.tenants,
        )
        answer = SubscriptionPage(
            items=[subscription_document(subscription) for subscription in page],
            next=str(page[-1].id) if len(page) == size else None,
        )
        return web.Response(body=dump(answer), content_type="application/json")

    async def get(self, request: web.Request) -> web.Response:
        """Answer one subscription."""
        _, subscription = await self._visible(request)
        return web.Response(body=dump(subscription_document(subscription)), content_type="application/json")

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a subscription; what it is still owed is cancelled."""
        principal, subscription = await self._visible(request)
        demand(principal, Permission.SUBSCRIPTIONS, subscription.terms.name)
        await self._subscriptions.delete(subscription.id)
        return web.Response(status=204)

    async def _visible(self, request: web.Request) -> tuple[Principal, Subscription]:
        principal = await self._auth.principal(request)
        demand(principal, Permission.SUBSCRIPTIONS)
        subscription_id = path_id(request, "subscription")
        subscription = await self._subscriptions.get(subscription_id)
        if subscription is None or not principal.sees(subscription.terms.tenant_id):
            raise NotFound(f"There is no subscription {subscription_id}.")
        return principal, subscription
