"""``/v1/quotas``: how much tenants and API tokens may use."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

from broker.access import Permission, Principal
from broker.errors import InvalidField
from broker.names import MAX_ID_CHARACTERS, check_id
from broker.operations.answers import render_quota
from broker.quotas import Quota, QuotaKind, Subject
from broker.schemas.quotas import QuotaPage, QuotaRequest, QuotaSchema
from broker.schematypes import LINE, Id
from broker.store.administration.quotas import QuotaStore
from broker.store.administration.tokens import AccessStore
from gateway.answers import answer
from gateway.bodies import read_document
from gateway.http_errors import NotFound
from gateway.native.queries import LIMIT, limit
from gateway.paths import path_id
from gateway.routes import Parameter, Route, SecuredRoute

_AFTER = Parameter(
    "after",
    "Only items after this one: `next` of the previous page.",
    {"type": "string", "pattern": f"^(tenants|tokens)/{LINE[1:-2]}{{0,{MAX_ID_CHARACTERS}}}$"},
)
_NEEDED = (Permission.ADMIN,)
_IN_PATH = {
    QuotaKind.TENANT: (Parameter("id", "The tenant's id.", TypeAdapter(Id).json_schema(), "path"),),
    QuotaKind.TOKEN: (),
}
"""What the path names, unless it is the number of a token."""


class QuotasApi:
    """Lists quotas, and has the routes of each kind.

    An administrator that is limited has those of its tenants, and of tokens that reach no further than it does.
    """

    def __init__(self, quotas: QuotaStore, access: AccessStore) -> None:
        self._quotas = quotas
        self._kinds = [_Kind(kind, quotas, access) for kind in QuotaKind]

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        every = SecuredRoute(
            "GET",
            "/v1/quotas",
            self.list,
            "List quotas",
            {200: QuotaPage},
            parameters=(_AFTER, LIMIT),
            permissions=_NEEDED,
        )
        return [every, *(route for kind in self._kinds for route in kind.routes)]

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer a page of quotas: those of tenants, then those of tokens."""
        after = request.query.get("after")
        found, last = await self._quotas.page(
            after=Subject(QuotaKind.TENANT, "") if after is None else _read_after(after),
            limit=limit(request),
            by=principal,
        )
        following = None if last is None else f"{last.kind.value}s/{last.id}"
        return answer(QuotaPage(items=[render_quota(*one) for one in found], next=following))


class _Kind:
    """The quotas of tenants, or of tokens."""

    def __init__(self, kind: QuotaKind, quotas: QuotaStore, access: AccessStore) -> None:
        self._kind = kind
        self._quotas = quotas
        self._access = access

    @property
    def routes(self) -> list[Route]:
        """The routes of this kind."""
        path, of = f"/v1/quotas/{self._kind.value}s/{{id}}", f"the quota of a {self._kind.value}"
        needed: dict[str, Any] = {"permissions": _NEEDED, "parameters": _IN_PATH[self._kind]}
        return [
            SecuredRoute("PUT", path, self.put, f"Set {of}", {200: QuotaSchema}, QuotaRequest, **needed),
            SecuredRoute("GET", path, self.get, f"Show {of}", {200: QuotaSchema}, **needed),
            SecuredRoute("DELETE", path, self.remove, f"Remove {of}", {204: None}, **needed),
        ]

    async def put(self, request: web.Request, principal: Principal) -> web.Response:
        """Set the quota, in place of the one that there was; every gateway holds to it within moments."""
        subject = await self._subject(request, principal)
        wanted = await read_document(request, QuotaRequest)
        quota = Quota(**wanted.model_dump())
        await self._quotas.put(subject, quota, by=principal)
        return answer(render_quota(subject, quota))

    async def get(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the quota."""
        subject = await self._subject(request, principal)
        quota = await self._quotas.get(subject)
        if quota is None:
            raise _missing(subject)
        return answer(render_quota(subject, quota))

    async def remove(self, request: web.Request, principal: Principal) -> web.Response:
        """Remove the quota: there is no limit any more."""
        subject = await self._subject(request, principal)
        if not await self._quotas.remove(subject, by=principal):
            raise _missing(subject)
        return web.Response(status=204)

    async def _subject(self, request: web.Request, principal: Principal) -> Subject:
        """Return whose quota *request* is about.

        Raises:
            NotFound: The caller does not speak for the tenant, or no such token reaches no further than it.
            InvalidField: No tenant can have that id.
        """
        if self._kind is QuotaKind.TOKEN:
            token_id = path_id(request, "token")
            if await self._access.token(token_id, by=principal) is None:
                raise NotFound(f"There is no token {token_id}.")
            return Subject(self._kind, str(token_id))
        tenant_id = check_id(request.match_info["id"], "/id")
        if not principal.speaks_for(tenant_id):
            raise NotFound(f"There is no tenant {tenant_id!r} that you may see.")
        return Subject(self._kind, tenant_id)


def _read_after(text: str) -> Subject:
    plural, slash, key = text.partition("/")
    kind = {f"{kind.value}s": kind for kind in QuotaKind}.get(plural)
    if kind is None or not slash:
        raise InvalidField("?after", "must be the `next` of a page")
    return Subject(kind, check_id(key, "?after"))


def _missing(subject: Subject) -> NotFound:
    return NotFound(f"There is no quota for {subject}.")
