"""Whom a throw is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from broker.access import Principal
from broker.errors import InvalidField
from broker.names import check_id
from broker.signals import Scope
from broker.subscriptions import Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipients:
    """Whom a throw is for, within the caller's own limits.

    Args:
        scope: Its scope.
        tenant_id: The tenant of a throw to one.
        execution_id: The execution of a throw to one.
        audience: The tenants that the caller is limited to (and the untenanted), where the scope does not say it.
    """

    scope: Scope
    tenant_id: str | None = None
    execution_id: str | None = None
    audience: tuple[str, ...] | None = None


def choose_recipients(
    principal: Principal,
    *,
    tenant_id: str | None = None,
    without_tenant_id: bool = False,
    execution_id: str | None = None,
) -> Recipients:
    """Return whom a throw by *principal* with these fields is for; a named tenant wins over `without_tenant_id`.

    Raises:
        InvalidField: A field is not an id, or an execution is named together with a tenant.
    """
    if execution_id is not None:
        if tenant_id is not None or without_tenant_id:
            raise InvalidField("/tenantId", "cannot be given together with executionId: an execution has its tenant")
        execution_id = check_id(execution_id, "/executionId")
        return Recipients(scope=Scope.EXECUTION, execution_id=execution_id, audience=principal.tenants)
    if tenant_id is not None:
        return Recipients(scope=Scope.TENANT, tenant_id=check_id(tenant_id, "/tenantId"))
    if without_tenant_id:
        return Recipients(scope=Scope.UNTENANTED)
    return Recipients(scope=Scope.BROADCAST, audience=principal.tenants)


def reaches_first(principal: Principal, waiting: Sequence[Waiting]) -> bool:
    """Return whether *principal* may throw to an execution: it has no tenant, or one that *principal* may name.

    Args:
        principal: Who throws.
        waiting: Who waits in the execution, at least one; it belongs to the first.
    """
    tenants = waiting[0].tenants
    return not tenants or principal.tenants is None or any(map(principal.may_name_tenant, tenants))
