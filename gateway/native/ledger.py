"""``/v1/ledger``: whether the books balance."""

from __future__ import annotations

from dataclasses import replace

import structlog
from aiohttp import web

from broker.access import Permission, Principal
from broker.operations.answers import render_books, render_own_books
from broker.operations.books import BookReader
from broker.operations.subscriptions import may_see
from broker.schemas.deliveries import LedgerSchema
from broker.store.subscriptions.subscriptions import SubscriptionStore
from gateway.answers import answer
from gateway.http_errors import NotFound
from gateway.native.queries import ID, optional_integer
from gateway.routes import Parameter, Route, SecuredRoute

_SILENT = "The transport did not answer in time; the gateway's log has the reason."

log = structlog.get_logger()


class LedgerApi:
    """Shows the ledger."""

    def __init__(self, books: BookReader, subscriptions: SubscriptionStore) -> None:
        self._books = books
        self._subscriptions = subscriptions

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "GET",
                "/v1/ledger",
                self.show,
                "Show the ledger",
                {200: LedgerSchema},
                parameters=(Parameter("subscriptionId", "Only deliveries to this subscription.", ID),),
                permissions=(Permission.READ,),
                refusals=(404,),
            )
        ]

    async def show(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the books: the deliveries of the subscriptions that the caller sees, or of one of them.

        What is on its way to its record may be anybody's, so only a caller without limits is told of it.
        """
        subscription_id = optional_integer(request, "subscriptionId")
        if subscription_id is not None:
            subscription = await self._subscriptions.get(subscription_id, deleted=True)
            if subscription is None or not may_see(principal, subscription):
                raise NotFound(f"There is no subscription {subscription_id}.")
        books = await self._books.read(subscription_id, by=principal)
        if books.transport_error is not None:  # it names hosts, which are no business of callers
            log.warning("ledger.incomplete", error=books.transport_error)
            books = replace(books, transport_error=_SILENT)
        return answer(render_books(books) if principal.hide_nothing else render_own_books(books.ledger))
