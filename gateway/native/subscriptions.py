"""``/v1/subscriptions``: standing requests for signals."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from broker.access import Permission, Principal
from broker.egress import Guard
from broker.secrets import SecretBox, make_secret
from broker.settings import Settings
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import Subscription
from gateway.auth import Authenticator, demand, demand_tenant
from gateway.bodies import dump, parse, read_json
from gateway.http_errors import Conflicting, NotFound
from gateway.native.answers import render_subscription
from gateway.native.requests import changed_spec, read_spec
from gateway.queries import AFTER_ID, EXECUTION_ID, LIMIT, NAME, TENANT_ID, integer, limit, path_id, text
from gateway.routes import Route
from gateway.schemas.subscriptions import (
    RotationRequest,
    SubscriptionChanges,
    SubscriptionPage,
    SubscriptionRequest,
    SubscriptionSchema,
)


class SubscriptionsApi:
    """Creates, lists, changes and deletes subscriptions."""

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
                {201: SubscriptionSchema},
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
            Route(
                "PATCH",
                one,
                self.change,
                "Change a subscription",
                {200: SubscriptionSchema},
                SubscriptionChanges,
            ),
            Route("DELETE", one, self.delete, "Delete a subscription", {204: None}),
            Route(
                "POST",
                f"{one}/rotate-secret",
                self.rotate_secret,
                "Rotate a subscription's secret",
                {200: SubscriptionSchema},
                RotationRequest,
            ),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Answer 201; every signal that is thrown after this answer and matches will be delivered."""
        principal = await self._auth.principal(request)
        wanted = parse(SubscriptionRequest, await read_json(request, self._settings.max_body_bytes))
        spec = read_spec(wanted, self._guard)
        demand(principal, Permission.SUBSCRIPTIONS, spec.name)
        demand_tenant(principal, spec.tenant_id)
        secret = make_secret() if spec.has_webhook else None
        subscription = await self._subscriptions.create(
            spec, secret=None if secret is None else self._secrets.seal(secret)
        )
        return web.Response(
            body=dump(render_subscription(subscription, secret)),
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
            items=[render_subscription(subscription) for subscription in page],
            next=str(page[-1].id) if len(page) == size else None,
        )
        return web.Response(body=dump(answer), content_type="application/json")

    async def change(self, request: web.Request) -> web.Response:
        """Change what the body mentions, from the next attempt on, and for the filter from the next signal on.

        A webhook that takes the place of a queue has its signing secret in this answer only.
        """
        principal, subscription = await visible_subscription(request, self._auth, self._subscriptions)
        demand(principal, Permission.SUBSCRIPTIONS, subscription.spec.name)
        wanted = parse(SubscriptionChanges, await read_json(request, self._settings.max_body_bytes))
        secret = make_secret()
        changed = await self._subscriptions.change(
            subscription.id,
            lambda spec: changed_spec(wanted, spec, self._guard),
            secret=self._secrets.seal(secret),
            by=principal,
        )
        if changed is None:
            raise NotFound(f"There is no subscription {subscription.id}.")
        after, has_secret = changed
        answer = render_subscription(after, secret if has_secret else None)
        return web.Response(body=dump(answer), content_type="application/json")

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a subscription; what it is still owed is cancelled."""
        principal, subscription = await visible_subscription(request, self._auth, self._subscriptions)
        demand(principal, Permission.SUBSCRIPTIONS, subscription.spec.name)
        await self._subscriptions.delete(subscription.id)
        return web.Response(status=204)

    async def rotate_secret(self, request: web.Request) -> web.Response:
        """Answer the subscription with a new secret; the one before it signs, too, until the grace is over."""
        principal, subscription = await visible_subscription(request, self._auth, self._subscriptions)
        demand(principal, Permission.SUBSCRIPTIONS, subscription.spec.name)
        wanted = parse(RotationRequest, await read_json(request, self._settings.max_body_bytes) or b"{}")
        if not subscription.spec.has_webhook:
            raise Conflicting("The subscription delivers to no webhook: nothing of it is signed.")
        secret = make_secret()
        rotated = await self._subscriptions.rotate_secret(
            subscription.id, self._secrets.seal(secret), grace=timedelta(seconds=wanted.grace_seconds)
        )
        if rotated is None:
            raise NotFound(f"There is no subscription {subscription.id}.")
        return web.Response(body=dump(render_subscription(rotated, secret)), content_type="application/json")


async def visible_subscription(
    request: web.Request, auth: Authenticator, subscriptions: SubscriptionStore
) -> tuple[Principal, Subscription]:
    """Return who is calling, and the subscription in the path, if they may see it.

    Raises:
        NotFound: They may not, or there is none.
    """
    principal = await auth.principal(request)
    demand(principal, Permission.SUBSCRIPTIONS)
    subscription_id = path_id(request, "subscription")
    subscription = await subscriptions.get(subscription_id)
    if subscription is None or not principal.sees(subscription.spec.tenant_id):
        raise NotFound(f"There is no subscription {subscription_id}.")
    return principal, subscription
