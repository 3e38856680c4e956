"""``/v1/stats``: what happened in each minute or hour, and how long deliveries took."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from broker.access import Permission, Principal
from broker.errors import InvalidField
from broker.operations.statistics import render_statistics
from broker.operations.subscriptions import may_see
from broker.schemas.statistics import StatisticsSchema
from broker.slices import Slices
from broker.statistics import MAX_STEP, MINUTE, Split, make_window
from broker.store.deliveries.statistics import StatisticsStore, Subject
from broker.store.subscriptions.subscriptions import SubscriptionStore
from gateway.answers import answer
from gateway.http_errors import NotFound
from gateway.native.queries import ID, MOMENT, TEXT, choice, integer, moment, optional_integer, text
from gateway.routes import Parameter, Route, SecuredRoute

_PARAMETERS = (
    Parameter("since", "From the step with this moment on; an hour before the end without it.", MOMENT),
    Parameter("until", "Up to the step with this moment; now without it. There are up to 1,500 steps.", MOMENT),
    Parameter(
        "step",
        "The length of a step in seconds. For what is more than 48 hours ago, a multiple of 3600.",
        {"type": "integer", "minimum": MINUTE, "maximum": MAX_STEP, "multipleOf": MINUTE, "default": MINUTE},
    ),
    Parameter("by", "What to split the steps by.", {"type": "string", "enum": [split.value for split in Split]}),
    Parameter("subscriptionId", "Only deliveries to this subscription, and what is owed to it.", ID),
    Parameter(
        "tenantId", "Only signals of this tenant, and deliveries to its subscriptions.", {**TEXT, "minLength": 1}
    ),
    Parameter("name", "Only signals with exactly this name, and their deliveries.", TEXT),
)


class StatsApi:
    """Shows statistics."""

    def __init__(self, statistics: StatisticsStore, subscriptions: SubscriptionStore) -> None:
        self._statistics = statistics
        self._subscriptions = subscriptions
        self._slices = Slices()

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "GET",
                "/v1/stats",
                self.show,
                "Show statistics",
                {200: StatisticsSchema},
                parameters=_PARAMETERS,
                permissions=(Permission.READ,),
                refusals=(404,),
            )
        ]

    async def show(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer what happened in each step, as far as it is about signals and subscriptions that the caller sees.

        A caller that is limited to tenants is told of the signals with one of these, and of none without a tenant.
        """
        window = make_window(
            moment(request, "since"),
            moment(request, "until"),
            integer(request, "step", MINUTE, least=MINUTE, most=MAX_STEP),
            now=datetime.now(UTC),
        )
        by = choice(request, "by", Split)
        subject = Subject(
            subscription_id=optional_integer(request, "subscriptionId"),
            tenant_id=text(request, "tenantId"),
            name=text(request, "name"),
        )
        if subject.tenant_id == "":
            raise InvalidField("?tenantId", "must not be empty")
        if subject.subscription_id is not None:
            await self._check(subject.subscription_id, principal)
        split = None if by is None else Split(by)
        figures = await self._statistics.read(window, subject, split=split, by=principal)
        return answer(await render_statistics(window, figures, split=split, slices=self._slices))

    async def _check(self, subscription_id: int, principal: Principal) -> None:
        subscription = await self._subscriptions.get(subscription_id, deleted=True)
        if subscription is None or not may_see(principal, subscription):
            raise NotFound(f"There is no subscription {subscription_id}.")
