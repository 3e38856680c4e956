"""Finding out who calls: every form of credentials that a dialect's clients send."""

from __future__ import annotations

import hmac

from aiohttp import hdrs, web

from broker.access import ADMINISTRATOR, Caller, Permission, Principal, digest
from broker.settings import Settings
from broker.store.access import AccessCache
from gateway.refusals import Forbidden, Unauthenticated

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="signal-broker"'}
_MAX_TOKEN = 512


class Authenticator:
    """Knows callers by their tokens: the bootstrap token of the settings, and those in the store."""

    def __init__(self, cache: AccessCache, settings: Settings) -> None:
        self._cache = cache
        self._admin = None if settings.admin_token is None else digest(settings.admin_token.get_secret_value())

    async def caller(self, request: web.Request) -> Caller | None:
        """Return who sent *request*: ``Authorization: Bearer <token>``, or the bare token. None if nobody knows."""
        token = read_token(request.headers.get(hdrs.AUTHORIZATION, ""))
        if not token or len(token) > _MAX_TOKEN or not token.isascii():
            return None
        if self._admin is not None and hmac.compare_digest(self._admin, digest(token)):
            return Caller(principal=ADMINISTRATOR)
        return await self._cache.caller(token)

    async def principal(self, request: web.Request) -> Principal:
        """Return the principal that sent *request*.

        Raises:
            Unauthenticated: There is no token, or it is not one of ours, or it opens a signal endpoint only.
        """
        caller = await self.caller(request)
        if caller is None or caller.endpoint_id is not None:
            raise Unauthenticated("A valid API token is needed: Authorization: Bearer sb_...", headers=_CHALLENGE)
        return caller.principal


def read_token(header: str) -> str:
    """Return the token in an ``Authorization`` header; the scheme may be missing, as Unleash's clients leave it out."""
    scheme, _, rest = header.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else header.strip()


def demand(principal: Principal, permission: Permission, signal_name: str | None = None) -> None:
    """Let *principal* pass if it has *permission* (for *signal_name*, where one is given).

    Raises:
        Forbidden: It has not.
    """
    if not principal.may(permission, signal_name):
        what = f" for signals named {signal_name!r}" if principal.may(permission) else ""
        raise Forbidden(f"This needs the permission {permission.value}{what}, which {principal.name!r} does not have.")


def demand_tenant(principal: Principal, tenant_id: str | None) -> None:
    """Let *principal* name *tenant_id*, if one is named.

    Raises:
        Forbidden: It is limited to other tenants.
    """
    if tenant_id is not None and not principal.may_name_tenant(tenant_id):
        raise Forbidden(f"{principal.name!r} may not name the tenant {tenant_id!r}.")
