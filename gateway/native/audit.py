"""``/v1/audit``: who changed what of signal endpoints, tokens, users and subscriptions."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission
from broker.audit import AuditType
from broker.store.administration.audit import AuditStore
from gateway.auth import Authenticator, demand
from gateway.bodies import dump
from gateway.native.answers import render_audit_event
from gateway.queries import AFTER_ID, LIMIT, choice, integer, limit
from gateway.routes import Parameter, Route
from gateway.schemas.access import AuditPage

_TYPE = Parameter("type", "Only changes of this type.", {"type": "string", "enum": [kind.value for kind in AuditType]})


class AuditApi:
    """Lists audit events. For administrators."""

    def __init__(self, audit: AuditStore, auth: Authenticator) -> None:
        self._audit = audit
        self._auth = auth

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        return [
            Route(
                "GET",
                "/v1/audit",
                self.list,
                "List audit events",
                {200: AuditPage},
                parameters=(_TYPE, AFTER_ID, LIMIT),
            )
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Answer a page of the audit events, oldest first; a later change never has a lower id."""
        demand(await self._auth.principal(request), Permission.ADMIN)
        size = limit(request)
        events = await self._audit.page(
            after_id=integer(request, "afterId", 0), limit=size, kind=choice(request, "type", AuditType)
        )
        page = AuditPage(
            items=[render_audit_event(event) for event in events],
            next=str(events[-1].id) if len(events) == size else None,
        )
        return web.Response(body=dump(page), content_type="application/json")
