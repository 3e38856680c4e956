"""``GET /engine-rest/event-subscription``: subscriptions, as Camunda 7 lists its event subscriptions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import hdrs, web

from broker.access import Permission, Principal
from broker.store.subscriptions.waiting import WaitingStore, WaitingSubscription
from gateway.camunda.dialect import ENGINE, IN_PATH, json_answer, show_date, spellings
from gateway.camunda.errors import unknown_engine
from gateway.camunda.queries import read_filter, read_page
from gateway.camunda.requests import check_accept
from gateway.camunda.schemas import TRUTH, Engines, EventSubscriptionCount, EventSubscriptions, RestVersion
from gateway.fields import read_list
from gateway.routes import OpenRoute, Parameter, Route, SecuredRoute

VERSION = "7.24.0"
NO_CACHE = {"Cache-Control": "no-cache"}
_SEEING = (Permission.THROW, Permission.READ, Permission.SUBSCRIPTIONS)
"""Any of these is enough: a caller that may throw must be able to find the execution to throw to."""
BOOLEAN = {
    "anyOf": [
        {"type": "boolean"},
        {"type": "string", "pattern": TRUTH},
    ]
}
INTEGER = {
    "anyOf": [
        {"type": "integer", "minimum": -(1 << 31), "maximum": (1 << 31) - 1},
        {"type": "string", "pattern": r"^([+-]?0*[0-9]{1,9})?$"},
    ]
}
_FILTERS = (
    Parameter("eventSubscriptionId", "Only the subscription with this id."),
    Parameter("eventName", "Only subscriptions with exactly this name."),
    Parameter("eventType", "Only subscriptions of this type; all have the type `signal`."),
    Parameter("executionId", "Only subscriptions of this execution."),
    Parameter("processInstanceId", "The same as executionId."),
    Parameter("activityId", "No subscription has one."),
    Parameter("tenantIdIn", "Only subscriptions of these tenants, separated by commas."),
    Parameter("withoutTenantId", "Only subscriptions without a tenant.", BOOLEAN),
    Parameter(
        "includeEventSubscriptionsWithoutTenantId", "With tenantIdIn: also subscriptions without a tenant.", BOOLEAN
    ),
)
_PAGE = (
    Parameter("sortBy", "With sortOrder.", {"type": "string", "enum": ["created", "tenantId"]}),
    Parameter("sortOrder", "With sortBy.", {"type": "string", "enum": ["asc", "desc"]}),
    Parameter("firstResult", "How many subscriptions to skip.", INTEGER),
    Parameter("maxResults", "Most items of the page.", INTEGER),
)


class EventSubscriptionsApi:
    """Lists and counts subscriptions for Camunda's clients."""

    def __init__(self, waiting: WaitingStore) -> None:
        self._waiting = waiting

    @property
    def routes(self) -> list[Route]:
        """The routes that list subscriptions."""
        engines = OpenRoute(
            "GET",
            "/engine-rest/engine",
            self.engines,
            "List the engines as in Camunda 7",
            {200: Engines},
            aliases=spellings("/engine-rest/engine"),
        )
        version = OpenRoute(
            "GET",
            "/engine-rest/version",
            self.version,
            "Read the version as in Camunda 7",
            {200: RestVersion},
            aliases=spellings("/engine-rest/version"),
        )
        return [
            engines,
            version,
            *self._routes("/engine-rest", ""),
            *self._routes("/engine-rest/engine/{engine}", " of an engine"),
        ]

    def _routes(self, base: str, where: str) -> list[Route]:
        path = f"{base}/event-subscription"
        engine = (IN_PATH,) if IN_PATH.name in base else ()
        return [
            SecuredRoute(
                "GET",
                path,
                self.list,
                f"List the event subscriptions{where} as in Camunda 7",
                {200: EventSubscriptions},
                parameters=engine + _FILTERS + _PAGE,
                aliases=spellings(path),
                refusals=(404, 406),
            ),
            SecuredRoute(
                "GET",
                f"{path}/count",
                self.count,
                f"Count the event subscriptions{where} as in Camunda 7",
                {200: EventSubscriptionCount},
                parameters=engine + _FILTERS,
                aliases=spellings(f"{path}/count"),
                refusals=(406,),
            ),
        ]

    async def engines(self, _request: web.Request) -> web.Response:
        """Answer the only engine; clients ask for it before they have credentials."""
        return json_answer([{"name": ENGINE}], headers=NO_CACHE)

    async def version(self, _request: web.Request) -> web.Response:
        """Answer the version whose REST API this is; clients wait for it, and check what they talk to."""
        return json_answer({"version": VERSION}, headers=NO_CACHE)

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the subscriptions that the caller sees and that still wait (Camunda 7 REST, Get List)."""
        check_request(request)
        subscription_filter, page = read_filter(request.query), read_page(request.query)
        found: list[WaitingSubscription] = []
        if sees(principal) and subscription_filter is not None and not page.is_empty:
            found = await self._waiting.find(
                subscription_filter,
                by=camundas(principal),
                order=page.order,
                descending=page.descending,
                offset=page.first,
                limit=page.most,
            )
        return json_answer([_document(subscription) for subscription in found], headers=NO_CACHE)

    async def count(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer how many subscriptions the list has on all its pages."""
        check_request(request)
        subscription_filter = read_filter(request.query)
        count = 0
        if sees(principal) and subscription_filter is not None:
            count = await self._waiting.count(subscription_filter, by=camundas(principal))
        return json_answer({"count": count}, headers=NO_CACHE)


def check_request(request: web.Request) -> None:
    """Check what every request for a list has to be.

    Raises:
        CamundaError: The caller does not take JSON, or the path names an unknown engine.
    """
    check_accept(read_list(request, hdrs.ACCEPT))
    if request.match_info.get("engine", ENGINE) != ENGINE:
        raise unknown_engine()


def sees(principal: Principal) -> bool:
    """Return whether *principal* sees any subscription; otherwise its lists are empty."""
    return any(map(principal.may, _SEEING))


def camundas(principal: Principal) -> Principal:
    """Return *principal* as it is in lists for Camunda's clients: there, what has no tenant is seen by everyone."""
    return replace(principal, untenanted=True)


def _document(subscription: WaitingSubscription) -> dict[str, Any]:
    return {
        "id": str(subscription.id),
        "eventType": "signal",
        "eventName": subscription.name,
        "executionId": subscription.execution_id,
        "processInstanceId": subscription.execution_id,
        "activityId": None,
        "createdDate": show_date(subscription.created_at),
        "tenantId": subscription.tenant_id,
    }
