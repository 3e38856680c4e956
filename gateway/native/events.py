"""``/v1/events``: what happened that operators are to know of."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal
from broker.events import EventType
from broker.operations.answers import render_event
from broker.schemas.events import EventPage
from broker.store.events import EventStore
from gateway.answers import answer
from gateway.native.queries import ID, LIMIT, MOMENT, choice, limit, moment, next_of, optional_integer
from gateway.routes import Parameter, Route, SecuredRoute

_FILTERS = (
    Parameter("type", "Only events of this type.", {"type": "string", "enum": [kind.value for kind in EventType]}),
    Parameter("subscriptionId", "Only events about this subscription.", ID),
    Parameter("since", "Only events of what happened at this moment or later.", MOMENT),
    Parameter("afterId", "Only events after this one in the list: `next` of the previous page.", ID),
    LIMIT,
)


class EventsApi:
    """Lists events."""

    def __init__(self, events: EventStore) -> None:
        self._events = events

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "GET",
                "/v1/events",
                self.list,
                "List events",
                {200: EventPage},
                parameters=_FILTERS,
                permissions=(Permission.READ,),
            )
        ]

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer a page of the events, the newest first: those whose signals the caller may read."""
        page = await self._events.page(
            before_id=optional_integer(request, "afterId"),
            limit=limit(request),
            kind=choice(request, "type", EventType),
            subscription_id=optional_integer(request, "subscriptionId"),
            since=moment(request, "since"),
            by=principal,
        )
        return answer(EventPage(items=[render_event(event) for event in page.items], next=next_of(page.following)))
