"""What requests that throw have in common in Camunda 8: variables as they were sent, and a tenant."""

from __future__ import annotations

from typing import TypeVar

from broker.access import Principal
from broker.errors import InvalidDocument, InvalidField
from broker.jsonparts import raw_member
from broker.names import check_id
from gateway.bodies import parse
from gateway.camunda8.problems import Unreadable
from gateway.camunda8.schemas import DEFAULT_TENANT, MessageCorrelation, SignalBroadcast
from gateway.http_errors import BadRequest, Forbidden

T = TypeVar("T", bound=SignalBroadcast | MessageCorrelation)


def parse_throw(model: type[T], body: bytes) -> tuple[T, bytes]:
    """Return *body* as a *model*, and its payload; of members that cannot be parsed the first one is named, as in 8.8.

    Raises:
        Unreadable: It is none.
    """
    try:
        wanted = parse(model, body)
    except BadRequest as error:
        raise Unreadable(error.detail) from error
    except InvalidDocument as error:
        member = ".".join(error.errors[0].pointer.split("/")[1:])
        raise Unreadable(
            f"Request property [{member}] cannot be parsed" if member else f"The body {error.errors[0].detail}."
        ) from error
    return wanted, b"{}" if wanted.variables is None else raw_member(body, "variables") or b"{}"


def read_tenant(tenant_id: str | None) -> str | None:
    """Return the tenant that is wanted, None for the default one.

    Raises:
        InvalidField: There can be no such tenant.
    """
    if tenant_id is None or tenant_id == DEFAULT_TENANT:
        return None
    if not tenant_id:
        raise InvalidField("/tenantId", "must not be empty")
    return check_id(tenant_id, "/tenantId")


def require_assignment(principal: Principal, tenant_id: str | None, *, to: str) -> None:
    """Check that *principal* may name the tenant.

    Raises:
        Forbidden: It may not, and so cannot do what *to* says.
    """
    if tenant_id is not None and not principal.may_name_tenant(tenant_id):
        raise Forbidden(f"Expected to {to} for tenant '{tenant_id}', but user is not assigned to this tenant.")
