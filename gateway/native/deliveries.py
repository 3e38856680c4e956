"""``/v1/deliveries``: deliveries in every state."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal, require_permission
from broker.deliveries import Delivery, DeliveryState, Outcome, delivery_id, parse_delivery_id
from broker.errors import InvalidField, PermissionDenied
from broker.names import is_pattern
from broker.operations.answers import render_delivery, render_listed
from broker.schemas.deliveries import DeliveryPage, DeliverySchema
from broker.store.deliveries.deliveries import DeliveryDetails, DeliveryStore
from gateway.answers import answer
from gateway.http_errors import Conflicting, NotFound
from gateway.native.queries import (
    DELIVERY_ID,
    HOST,
    ID,
    LIMIT,
    MOMENT,
    ORDER,
    TEXT,
    choice,
    host,
    integer,
    is_descending,
    limit,
    moment,
    optional_integer,
    text,
)
from gateway.routes import Parameter, Route, SecuredRoute

_OF_SUBSCRIPTION = Parameter("subscriptionId", "Only deliveries to this subscription.", ID)

_OF_SIGNALS = (
    Parameter("signalId", "Only deliveries of this signal.", ID),
    Parameter("name", "Only deliveries of signals whose name matches (patterns allowed).", TEXT),
    Parameter("since", "Only deliveries of signals accepted at this moment or later.", MOMENT),
    Parameter("until", "Only deliveries of signals accepted before this moment.", MOMENT),
)
PAGE_PARAMETERS = (
    Parameter(
        "state", "Only deliveries in this state.", {"type": "string", "enum": [state.value for state in DeliveryState]}
    ),
    _OF_SUBSCRIPTION,
    Parameter(
        "outcome",
        "Only deliveries whose last attempt had this outcome.",
        {"type": "string", "enum": [outcome.value for outcome in Outcome]},
    ),
    Parameter(
        "status",
        "Only deliveries whose last attempt was answered with this HTTP status.",
        {"type": "integer", "minimum": 100, "maximum": 599},
    ),
    Parameter("attemptedSince", "Only deliveries whose last attempt began at this moment or later.", MOMENT),
    Parameter("attemptedUntil", "Only deliveries whose last attempt began before this moment.", MOMENT),
    Parameter("tenantId", "Only deliveries to subscriptions of this tenant.", TEXT),
    Parameter(
        "host",
        "Only deliveries to webhooks at this host, as it is written in their URLs, without the port; of several steps,"
        " the first one counts.",
        HOST,
    ),
    Parameter("order", "`desc`: the newest signals' first.", ORDER),
    Parameter("afterId", "Only deliveries after this one: `next` of the previous page.", DELIVERY_ID),
    LIMIT,
)

_ONE = (Parameter("id", "The delivery's id: those of its signal and of its subscription.", DELIVERY_ID, "path"),)


class DeliveriesApi:
    """Lists, shows, redrives and cancels deliveries."""

    def __init__(self, deliveries: DeliveryStore) -> None:
        self._deliveries = deliveries

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        one = "/v1/deliveries/{id}"
        reading, managing = (Permission.READ,), (Permission.DELIVERIES,)
        return [
            SecuredRoute(
                "GET",
                "/v1/deliveries",
                self.list,
                "List deliveries",
                {200: DeliveryPage},
                parameters=(*_OF_SIGNALS, *PAGE_PARAMETERS),
                permissions=reading,
            ),
            SecuredRoute(
                "GET", one, self.get, "Show a delivery", {200: DeliverySchema}, parameters=_ONE, permissions=reading
            ),
            SecuredRoute(
                "POST",
                one + "/redrive",
                self.redrive,
                "Redrive a delivery",
                {200: DeliverySchema},
                parameters=_ONE,
                permissions=managing,
                refusals=(409,),
            ),
            SecuredRoute(
                "POST",
                one + "/cancel",
                self.cancel,
                "Cancel a delivery",
                {200: DeliverySchema},
                parameters=_ONE,
                permissions=managing,
                refusals=(409,),
            ),
        ]

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer a page of the deliveries that the caller sees."""
        return await delivery_page(self._deliveries, request, principal, optional_integer(request, "signalId"))

    async def get(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer one delivery with its attempts."""
        key, details = await self._find(request, principal)
        if not details.readable or not principal.may(Permission.READ, details.signal_name):
            raise _missing(request.match_info["id"])
        return await self._answer(key, details, principal)

    async def redrive(self, request: web.Request, principal: Principal) -> web.Response:
        """Let a delivery be attempted (again), if it would be. Only a caller that may read it is told its attempts."""
        key, details = await self._managed(request, principal)
        if details.delivery.state is not DeliveryState.PENDING and details.hopeless is not None:
            raise Conflicting(f"It would not be attempted: {details.hopeless}.")
        if not await self._deliveries.redrive(key, by=principal):
            raise Conflicting(_not_redriven(details.delivery))
        return await self._changed(key, principal)

    async def cancel(self, request: web.Request, principal: Principal) -> web.Response:
        """Cancel a delivery that is dead or parked, or waits to be leased: it is never attempted again.

        The answer is as for a redrive.
        """
        key, _ = await self._managed(request, principal)
        if not await self._deliveries.cancel(key, by=principal):
            raise Conflicting("Only a delivery that is dead or parked, or waits to be leased, can be cancelled.")
        return await self._changed(key, principal)

    async def _managed(self, request: web.Request, principal: Principal) -> tuple[tuple[int, int], DeliveryDetails]:
        key, details = await self._find(request, principal)
        if not details.owned:
            raise PermissionDenied(f"The subscription does not belong to the tenants of {principal.name!r}.")
        require_permission(principal, Permission.DELIVERIES, details.signal_name)
        return key, details

    async def _changed(self, key: tuple[int, int], principal: Principal) -> web.Response:
        details = await self._deliveries.get(key)
        assert details is not None  # noqa: S101  (it was there just now)
        return await self._answer(key, details, principal)

    async def _answer(self, key: tuple[int, int], details: DeliveryDetails, principal: Principal) -> web.Response:
        attempts = await self._deliveries.attempts(key) if principal.may(Permission.READ) else None
        return answer(render_delivery(details, attempts))

    async def _find(self, request: web.Request, principal: Principal) -> tuple[tuple[int, int], DeliveryDetails]:
        """Return the delivery in the path, if *principal* may know of it as far as tenants say."""
        given = request.match_info["id"]
        try:
            key = parse_delivery_id(given)
        except ValueError as error:
            raise _missing(given) from error
        details = await self._deliveries.get(key, by=principal)
        if details is None or not (details.readable or details.owned):
            raise _missing(given)
        return key, details


def _not_redriven(delivery: Delivery) -> str:
    match delivery.state:
        case DeliveryState.PARKED:
            return (
                "It is due already, or waits for its turn in its ordering group, or for the moment of its signal"
                " (`deliverAt`)."
            )
        case DeliveryState.CANCELLED:
            return "Another signal has consumed its subscription."
        case _:
            return "It is being attempted, or is about to be."


def _missing(delivery_id: str) -> NotFound:
    return NotFound(f"There is no delivery {delivery_id!r}.")


async def delivery_page(
    deliveries: DeliveryStore, request: web.Request, principal: Principal, signal_id: int | None
) -> web.Response:
    """Answer a page of the deliveries that *principal* sees, filtered by the query of *request*."""
    after = request.query.get("afterId")
    try:
        start = None if after is None else parse_delivery_id(after)
    except ValueError as error:
        raise InvalidField("?afterId", "must be the id of a delivery") from error
    outcome, name = choice(request, "outcome", Outcome), text(request, "name")
    if name is not None and not is_pattern(name):  # a pattern is narrowed to the caller's names
        require_permission(principal, Permission.READ, name)
    page = await deliveries.page(
        after=start,
        limit=limit(request),
        descending=is_descending(request),
        by=principal,
        state=choice(request, "state", DeliveryState),
        subscription_id=optional_integer(request, "subscriptionId"),
        signal_id=signal_id,
        name=name,
        since=moment(request, "since"),
        until=moment(request, "until"),
        tenant_id=text(request, "tenantId"),
        host=host(request),
        outcome=None if outcome is None else Outcome(outcome),
        status=integer(request, "status", 0, least=100, most=599) if "status" in request.query else None,
        attempted_since=moment(request, "attemptedSince"),
        attempted_until=moment(request, "attemptedUntil"),
    )
    following = None if page.following is None else delivery_id(*page.following)
    return answer(DeliveryPage(items=[render_listed(listed) for listed in page.items], next=following))
