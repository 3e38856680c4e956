"""``/v1/subscriptions``: standing requests for signals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from aiohttp import web

from broker.access import Permission, Principal, require_pattern
from broker.egress import Guard
from broker.errors import PermissionDenied, QuotaExceeded
from broker.operations.answers import render_subscription
from broker.operations.subscriptions import (
    as_seen_by,
    change_spec,
    create_if_absent,
    create_subscription,
    may_see,
    read_spec,
    unseal,
)
from broker.schemas.subscriptions import (
    ResumptionRequest,
    RotationRequest,
    SubscriptionChanges,
    SubscriptionPage,
    SubscriptionRequest,
    SubscriptionSchema,
)
from broker.secrets import SecretBox, make_secret
from broker.slices import Slices
from broker.store.deliveries.backlogs import BacklogStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.statistics import StatisticsStore
from broker.store.subscriptions.listing import ListedState
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import Subscription
from gateway.answer_headers import LOCATION
from gateway.answers import answer, created
from gateway.bodies import read_document
from gateway.http_errors import Conflicting, NotFound
from gateway.native.queries import (
    AFTER_ID,
    EXECUTION_ID,
    HOST,
    LIMIT,
    NAME,
    TENANT_ID,
    choice,
    host,
    integer,
    limit,
    next_of,
    text,
)
from gateway.paths import path_id
from gateway.routes import Parameter, Route, SecuredRoute

_HOST = Parameter(
    "host",
    "Only subscriptions with a webhook at this host, as it is written in its URL, without the port; of several steps,"
    " the first one counts.",
    HOST,
)
_STATE = Parameter(
    "state",
    "Only subscriptions in this state; `failing`: those whose target is left alone for a while; `leasable`: those of"
    " which deliveries wait to be leased.",
    {"type": "string", "enum": [state.value for state in ListedState]},
)
_IF_ABSENT = Parameter(
    "ifAbsent",
    "`true`: if there is a subscription with the same name, tenant, execution, target, description, `once` and"
    " `ordered`, the oldest one is answered (200), and none is created. For a target whose kind is `pull` or `queue`.",
    {"type": "string", "enum": ["true", "false"], "default": "false"},
)


class SubscriptionsApi:
    """Creates, lists, shows, changes, pauses, resumes and deletes subscriptions."""

    def __init__(
        self,
        subscriptions: SubscriptionStore,
        pausing: PausingStore,
        backlogs: BacklogStore,
        statistics: StatisticsStore,
        *,
        secrets: SecretBox,
        guard: Guard,
        note_refusal: Callable[[QuotaExceeded], None],
    ) -> None:
        self._subscriptions = subscriptions
        self._pausing = pausing
        self._backlogs = backlogs
        self._statistics = statistics
        self._secrets = secrets
        self._guard = guard
        self._note_refusal = note_refusal
        self._slices = Slices(rest=1.0)

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        every, one = "/v1/subscriptions", "/v1/subscriptions/{id}"
        needed = (Permission.SUBSCRIPTIONS,)
        reading = (Permission.READ, Permission.SUBSCRIPTIONS)
        return [
            SecuredRoute(
                "POST",
                every,
                self.create,
                "Create a subscription",
                {201: SubscriptionSchema, 200: SubscriptionSchema},
                SubscriptionRequest,
                permissions=needed,
                refusals=(409,),
                parameters=(_IF_ABSENT,),
                headers={201: (LOCATION,)},
            ),
            SecuredRoute(
                "GET",
                every,
                self.list,
                "List subscriptions",
                {200: SubscriptionPage},
                parameters=(NAME, TENANT_ID, EXECUTION_ID, _HOST, _STATE, AFTER_ID, LIMIT),
                alternatives=reading,
            ),
            SecuredRoute("GET", one, self.get, "Show a subscription", {200: SubscriptionSchema}, alternatives=reading),
            SecuredRoute(
                "PATCH",
                one,
                self.change,
                "Change a subscription",
                {200: SubscriptionSchema},
                SubscriptionChanges,
                permissions=needed,
            ),
            SecuredRoute("DELETE", one, self.delete, "Delete a subscription", {204: None}, permissions=needed),
            SecuredRoute(
                "POST",
                f"{one}/pause",
                self.pause,
                "Pause a subscription",
                {200: SubscriptionSchema},
                permissions=needed,
            ),
            SecuredRoute(
                "POST",
                f"{one}/resume",
                self.resume,
                "Resume a subscription",
                {200: SubscriptionSchema},
                ResumptionRequest,
                permissions=needed,
                may_be_bare=True,
            ),
            SecuredRoute(
                "POST",
                f"{one}/circuit/close",
                self.close_circuit,
                "Close a subscription's circuit",
                {204: None},
                permissions=needed,
            ),
            SecuredRoute(
                "POST",
                f"{one}/rotate-secret",
                self.rotate_secret,
                "Rotate a subscription's secret",
                {200: SubscriptionSchema},
                RotationRequest,
                permissions=needed,
                may_be_bare=True,
                refusals=(409,),
            ),
        ]

    async def create(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 201; every matching signal that is thrown after this answer will be delivered."""
        if_absent = choice(request, "ifAbsent", ("true", "false")) == "true"
        spec = read_spec(await read_document(request, SubscriptionRequest), self._guard)
        secret = None
        try:
            if if_absent:
                subscription, is_new = await create_if_absent(self._subscriptions, spec, by=principal)
                if not is_new:
                    return answer(render_subscription(subscription))
            else:
                subscription, secret = await create_subscription(
                    self._subscriptions, spec, secrets=lambda: self._secrets, by=principal
                )
        except QuotaExceeded as error:
            self._note_refusal(error)
            raise
        return created(render_subscription(subscription, secret), f"/v1/subscriptions/{subscription.id}")

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer a page of the subscriptions that the caller sees; there are fewer than `limit` if they are large."""
        page = await self._subscriptions.page(
            after_id=integer(request, "afterId", 0),
            limit=limit(request),
            name=text(request, "name"),
            tenant_id=text(request, "tenantId"),
            execution_id=text(request, "executionId"),
            host=host(request),
            state=choice(request, "state", ListedState),
            by=principal,
        )
        items, backlogs = [], await self._backlogs.find(page.items)
        rates = await self._statistics.success_rates([subscription.id for subscription in page.items])
        async with self._slices.take() as turn:
            for subscription in page.items:
                seen = as_seen_by(principal, subscription, self._secrets)
                items.append(
                    render_subscription(seen, backlog=backlogs[subscription.id], success_rate=rates[subscription.id])
                )
                if turn.is_over:
                    await turn.pause()
        return answer(SubscriptionPage(items=items, next=next_of(page.following)))

    async def get(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer one subscription, with its backlog, its circuit and its success rate.

        Who may only read sees no credentials in the URLs of its webhooks.
        """
        subscription = await _find(request, principal, self._subscriptions)
        if not may_see(principal, subscription):
            raise _missing(subscription.id)
        return await self._show(subscription, principal)

    async def change(self, request: web.Request, principal: Principal) -> web.Response:
        """Change what the body mentions, from the next attempt on, and for the filter from the next signal on.

        If a webhook replaces a queue, this answer alone shows its new signing secret.
        """
        subscription = await managed_subscription(request, principal, self._subscriptions)
        wanted = await read_document(request, SubscriptionChanges)
        secret, seals = make_secret(), await self._subscriptions.seals()
        changed = await self._subscriptions.change(
            subscription.id,
            lambda spec: change_spec(wanted, spec, self._guard, by=principal, box=self._secrets, seals=seals),
            secret=self._secrets.seal(secret),
            by=principal,
            box=self._secrets,
        )
        if changed is None:
            raise _missing(subscription.id)
        after, has_secret = changed
        return answer(render_subscription(unseal(after, self._secrets), secret if has_secret else None))

    async def delete(self, request: web.Request, principal: Principal) -> web.Response:
        """Delete a subscription; the deliveries that it is still owed are cancelled."""
        subscription = await managed_subscription(request, principal, self._subscriptions)
        await self._subscriptions.delete(subscription.id, by=principal)
        return web.Response(status=204)

    async def pause(self, request: web.Request, principal: Principal) -> web.Response:
        """Let a subscription's deliveries wait from now on; none is dropped."""
        subscription = await managed_subscription(request, principal, self._subscriptions)
        return await self._show(await self._pausing.pause(subscription.id, by=principal), principal)

    async def resume(self, request: web.Request, principal: Principal) -> web.Response:
        """Let a paused or disabled subscription get its deliveries again; the waiting ones are spread over time."""
        subscription = await managed_subscription(request, principal, self._subscriptions)
        wanted = await read_document(request, ResumptionRequest, optional=True)
        resumed = await self._pausing.resume(subscription.id, per_second=wanted.per_second, by=principal)
        return await self._show(resumed, principal)

    async def close_circuit(self, request: web.Request, principal: Principal) -> web.Response:
        """Let a subscription's targets be tried again at once, and what waits for them go on; a pause stays."""
        subscription = await managed_subscription(request, principal, self._subscriptions)
        await self._pausing.close_circuits(subscription.id, by=principal)
        return web.Response(status=204)

    async def rotate_secret(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the subscription with a new secret; the previous one also signs until the grace period is over.

        It does not if no key of the ring opens it.
        """
        subscription = await managed_subscription(request, principal, self._subscriptions)
        wanted = await read_document(request, RotationRequest, optional=True)
        if not subscription.spec.is_signed:
            raise Conflicting("The subscription has no webhook, so there is no secret to rotate.")
        secret = make_secret()
        rotated = await self._subscriptions.rotate_secret(
            subscription.id,
            self._secrets.seal(secret),
            box=self._secrets,
            grace=timedelta(seconds=wanted.grace_seconds),
            by=principal,
        )
        if rotated is None:
            raise _missing(subscription.id)
        return answer(render_subscription(unseal(rotated, self._secrets), secret))

    async def _show(self, subscription: Subscription | None, principal: Principal) -> web.Response:
        if subscription is None:
            raise NotFound("The subscription was deleted just now.")
        backlogs = await self._backlogs.find([subscription])
        rates = await self._statistics.success_rates([subscription.id])
        seen = as_seen_by(principal, subscription, self._secrets)
        return answer(render_subscription(seen, backlog=backlogs[subscription.id], success_rate=rates[subscription.id]))


async def managed_subscription(
    request: web.Request, principal: Principal, subscriptions: SubscriptionStore
) -> Subscription:
    """Return the subscription in the path, if *principal* may change it.

    Raises:
        NotFound: There is none, or *principal* may not know of it because of its tenants.
        PermissionDenied: It belongs to no tenant, or to further ones, or *principal* is limited to other names.
    """
    subscription = await owned_subscription(request, principal, subscriptions)
    require_pattern(principal, Permission.SUBSCRIPTIONS, subscription.spec.name)
    return subscription


async def owned_subscription(
    request: web.Request, principal: Principal, subscriptions: SubscriptionStore
) -> Subscription:
    """Return the subscription in the path, if it belongs to the tenants of *principal*.

    Raises:
        NotFound: There is none, or *principal* may not know of it because of its tenants.
        PermissionDenied: It belongs to no tenant, or to further ones.
    """
    subscription = await _find(request, principal, subscriptions)
    if not subscription.is_owned_by(principal.reach):
        raise PermissionDenied(f"Subscription {subscription.id} does not belong to the tenants of {principal.name!r}.")
    return subscription


async def _find(request: web.Request, principal: Principal, subscriptions: SubscriptionStore) -> Subscription:
    """Return the subscription in the path, if *principal* may know of it as far as tenants say."""
    subscription_id = path_id(request, "subscription")
    subscription = await subscriptions.get(subscription_id)
    if subscription is None or not subscription.is_seen_by(principal.reach):
        raise _missing(subscription_id)
    return subscription


def _missing(subscription_id: int) -> NotFound:
    return NotFound(f"There is no subscription {subscription_id}.")
