"""``/v1/deliveries`` and ``/v1/ledger``: deliveries with their attempts, and the books."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from broker.access import Permission, Principal
from broker.deliveries import Delivery, DeliveryState, Outcome, parse_delivery_id
from broker.errors import InvalidField
from broker.settings import Settings
from broker.store.deliveries.deliveries import DeliveryDetails, DeliveryStore
from broker.topology import RECORD
from broker.transport import Transport
from gateway.auth import Authenticator, demand
from gateway.bodies import dump
from gateway.http_errors import Conflicting, NotFound
from gateway.native.answers import render_delivery, render_ledger
from gateway.queries import ID, LIMIT, MOMENT, choice, limit, moment, optional_integer, text
from gateway.routes import Parameter, Route
from gateway.schemas.deliveries import DeliveryPage, DeliverySchema, LedgerSchema

_OF_SUBSCRIPTION = Parameter("subscriptionId", "Only those of this subscription.", ID)

_OF_SIGNALS = (
    Parameter("signalId", "Only those of this signal.", ID),
    Parameter("name", "Only those of signals of this name, or of those that the pattern names."),
    Parameter("since", "Only those of signals accepted at this moment or later.", MOMENT),
    Parameter("until", "Only those of signals accepted before this moment.", MOMENT),
)
PAGE_PARAMETERS = (
    Parameter(
        "state", "Only those in this state.", {"type": "string", "enum": [state.value for state in DeliveryState]}
    ),
    _OF_SUBSCRIPTION,
    Parameter(
        "outcome",
        "Only those whose last attempt ended so.",
        {"type": "string", "enum": [outcome.value for outcome in Outcome]},
    ),
    Parameter("afterId", "Only what comes after this delivery: `next` of the page before."),
    LIMIT,
)


class DeliveriesApi:
    """Lists, shows, redrives and cancels deliveries, and shows the ledger."""

    def __init__(
        self, deliveries: DeliveryStore, transport: Transport, auth: Authenticator, settings: Settings
    ) -> None:
        self._deliveries = deliveries
        self._transport = transport
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        one = "/v1/deliveries/{id}"
        return [
            Route(
                "GET",
                "/v1/deliveries",
                self.list,
                "List deliveries",
                {200: DeliveryPage},
                parameters=(*_OF_SIGNALS, *PAGE_PARAMETERS),
            ),
            Route("GET", one, self.get, "Show a delivery", {200: DeliverySchema}),
            Route("POST", one + "/redrive", self.redrive, "Redrive a dead delivery", {200: DeliverySchema}),
            Route("POST", one + "/cancel", self.cancel, "Cancel a delivery", {200: DeliverySchema}),
            Route(
                "GET",
                "/v1/ledger",
                self.ledger,
                "Show the ledger",
                {200: LedgerSchema},
                parameters=(_OF_SUBSCRIPTION,),
            ),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Answer a page of the deliveries that the caller sees."""
        principal = await self._auth.principal(request)
        return await delivery_page(self._deliveries, request, principal, optional_integer(request, "signalId"))

    async def get(self, request: web.Request) -> web.Response:
        """Answer one delivery with its attempts."""
        key, details = await self._visible(request, Permission.READ)
        return await self._answer(key, details.delivery)

    async def redrive(self, request: web.Request) -> web.Response:
        """Put a dead delivery back, if it would be attempted."""
        principal = await self._auth.principal(request)
        key, details = await self._managed(request, principal)
        if details.delivery.state is DeliveryState.DEAD and details.hopeless is not None:
            raise Conflicting(f"It would not be attempted: {details.hopeless}.")
        if not await self._deliveries.redrive(key):
            raise Conflicting("Only a dead delivery can be redriven.")
        return await self._changed(key)

    async def cancel(self, request: web.Request) -> web.Response:
        """Give up a dead or parked delivery for good."""
        principal = await self._auth.principal(request)
        key, _ = await self._managed(request, principal)
        if not await self._deliveries.give_up(key, by=principal):
            raise Conflicting("Only a dead or parked delivery can be cancelled.")
        return await self._changed(key)

    async def _managed(self, request: web.Request, principal: Principal) -> tuple[tuple[int, int], DeliveryDetails]:
        key, details = await self._visible(request, Permission.DELIVERIES)
        demand(principal, Permission.DELIVERIES, details.signal_name)
        return key, details

    async def _changed(self, key: tuple[int, int]) -> web.Response:
        details = await self._deliveries.get(key)
        assert details is not None  # noqa: S101  (it was there just now)
        return await self._answer(key, details.delivery)

    async def _answer(self, key: tuple[int, int], delivery: Delivery) -> web.Response:
        delivery = replace(delivery, attempts=tuple(await self._deliveries.attempts(key)))
        return web.Response(body=dump(render_delivery(delivery)), content_type="application/json")

    async def _visible(self, request: web.Request, permission: Permission) -> tuple[tuple[int, int], DeliveryDetails]:
        principal = await self._auth.principal(request)
        demand(principal, permission)
        text = request.match_info["id"]
        try:
            key = parse_delivery_id(text)
        except ValueError as error:
            raise NotFound(f"There is no delivery {text!r}.") from error
        details = await self._deliveries.get(key)
        if details is None or not principal.sees(details.tenant_id):
            raise NotFound(f"There is no delivery {text!r}.")
        return key, details

    async def ledger(self, request: web.Request) -> web.Response:
        """Answer the books in one snapshot, of all subscriptions or of one."""
        principal = await self._auth.principal(request)
        demand(principal, Permission.READ)
        ledger = await self._deliveries.ledger(optional_integer(request, "subscriptionId"))
        awaiting = await self._transport.depth(RECORD, timeout=self._settings.confirm_timeout)
        answer = render_ledger(ledger, awaiting)
        return web.Response(body=dump(answer), content_type="application/json")


async def delivery_page(
    deliveries: DeliveryStore, request: web.Request, principal: Principal, signal_id: int | None
) -> web.Response:
    """Answer a page of the deliveries that *principal* sees, as the query of *request* says."""
    demand(principal, Permission.READ)
    size = limit(request)
    after = request.query.get("afterId")
    try:
        start = (0, 0) if after is None else parse_delivery_id(after)
    except ValueError as error:
        raise InvalidField("?afterId", "must be the id of a delivery") from error
    outcome = choice(request, "outcome", Outcome)
    found = await deliveries.page(
        after=start,
        limit=size,
        state=choice(request, "state", DeliveryState),
        subscription_id=optional_integer(request, "subscriptionId"),
        signal_id=signal_id,
        tenants=principal.tenants,
        outcome=None if outcome is None else Outcome(outcome),
        name=text(request, "name"),
        since=moment(request, "since"),
        until=moment(request, "until"),
    )
    items = [render_delivery(delivery) for delivery in found]
    page = DeliveryPage(items=items, next=items[-1].id if len(found) == size else None)
    return web.Response(body=dump(page), content_type="application/json")
