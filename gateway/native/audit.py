"""``/v1/audit``: who changed which signal endpoints, tokens, users, subscriptions and deliveries."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal
from broker.audit import AuditType
from broker.operations.answers import render_audit_event
from broker.schemas.access import AuditPage
from broker.store.administration.audit import AuditStore
from gateway.answers import answer
from gateway.native.queries import AFTER_ID, LIMIT, choice, integer, limit, next_of
from gateway.routes import Parameter, Route, SecuredRoute

_TYPE = Parameter("type", "Only changes of this type.", {"type": "string", "enum": [kind.value for kind in AuditType]})


class AuditApi:
    """Lists audit events."""

    def __init__(self, audit: AuditStore) -> None:
        self._audit = audit

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "GET",
                "/v1/audit",
                self.list,
                "List audit events",
                {200: AuditPage},
                parameters=(_TYPE, AFTER_ID, LIMIT),
                permissions=(Permission.ADMIN,),
            )
        ]

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer a page of the audit events, oldest first; a later change never has a lower id.

        A caller with limits sees the events of principals whose names and tenants are within its own.
        """
        page = await self._audit.page(
            after_id=integer(request, "afterId", 0),
            limit=limit(request),
            kind=choice(request, "type", AuditType),
            by=principal,
        )
        return answer(AuditPage(items=[render_audit_event(event) for event in page.items], next=next_of(page.next)))
