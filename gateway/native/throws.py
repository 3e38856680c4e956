"""What a throw's document asks for, within what its caller may do."""

from __future__ import annotations

from collections.abc import Callable

from broker.access import Permission, Principal
from broker.errors import InvalidField
from broker.signals import Source, Throw
from broker.store.signals.signals import Numbered
from broker.variables import Types
from gateway.auth import demand, demand_tenant
from gateway.bodies import raw_member
from gateway.intake import address
from gateway.native.variables import read_variables
from gateway.schemas.signals import SignalRequest


def read_throw(principal: Principal, wanted: SignalRequest, body: bytes, traceparent: str | None = None) -> Throw:
    """Return the throw by *principal* that is *wanted*; *body* is the JSON text that it was read from.

    Raises:
        Forbidden: It has not the permission for that name, or may not name the tenant.
        InvalidField: A field breaks a rule that the document's shape does not express.
    """
    demand(principal, Permission.THROW, wanted.name)
    to = address(
        principal,
        tenant_id=wanted.tenant_id,
        without_tenant_id=wanted.without_tenant_id,
        execution_id=wanted.execution_id,
    )
    demand_tenant(principal, to.tenant_id)
    if wanted.variables is None:
        payload, types = raw_member(body, "payload") or b"{}", Types()
    elif "payload" in wanted.model_fields_set:
        raise InvalidField("/variables", "cannot be given together with payload: they are two views of the same")
    else:
        payload, types = read_variables(wanted.variables)
    return Throw(
        name=wanted.name,
        payload=payload,
        types=types,
        scope=to.scope,
        tenant_id=to.tenant_id,
        execution_id=to.execution_id,
        audience=to.audience,
        source=Source.NATIVE,
        token_id=principal.token_id,
        business_key=wanted.business_key,
        ordering_key=wanted.ordering_key,
        deliver_at=wanted.deliver_at,
        expires_at=wanted.expires_at,
        traceparent=traceparent,
    )


def admitting(principal: Principal) -> Callable[[Numbered], None]:
    """Return what lets a throw to an execution pass, unless a tenant that *principal* may not name waits there.

    It raises `Forbidden` then.
    """

    def admit(numbered: Numbered) -> None:
        for _, tenant_id in numbered.execution:
            demand_tenant(principal, tenant_id)

    return admit
