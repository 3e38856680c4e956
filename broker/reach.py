"""The reach of a principal, or of what it made: the tenants that it acts for."""

from __future__ import annotations

from dataclasses import dataclass

from broker.signals import Scope, Throw


@dataclass(frozen=True, slots=True)
class Reach:
    """The tenants that a principal is limited to, and whether it may see what has no tenant.

    The store has `reads` as a function of PostgreSQL, too: `is_readable` (schema.sql).

    Args:
        tenants: The tenants; None is no limit.
        untenanted: Whether it sees what belongs to no tenant. Without a limit it does in any case.
    """

    tenants: tuple[str, ...] | None = None
    untenanted: bool = False

    @property
    def has_untenanted(self) -> bool:
        """Whether it sees what belongs to no tenant."""
        return self.tenants is None or self.untenanted

    def has_tenant(self, tenant_id: str) -> bool:
        """Return whether *tenant_id* is one of its tenants."""
        return self.tenants is None or tenant_id in self.tenants

    def includes(self, other: Reach) -> bool:
        """Return whether it reaches everything that *other* reaches."""
        if self.tenants is None:
            return True
        if other.tenants is None or (other.untenanted and not self.untenanted):
            return False
        return set(other.tenants) <= set(self.tenants)

    def reads(self, throw: Throw) -> bool:
        """Return whether it may read the signal of *throw*: one for everybody, or for one of its tenants."""
        if self.tenants is None:
            return True
        if throw.tenant_id is not None:
            return throw.tenant_id in self.tenants
        if throw.audience:
            return not set(throw.audience).isdisjoint(self.tenants)
        return self.untenanted or (throw.scope is Scope.BROADCAST and throw.audience is None)

    def owns(self, tenants: tuple[str, ...] | None) -> bool:
        """Return whether what belongs to *tenants* (None: to no tenant) belongs to it alone, so that it may change it.

        An empty tuple stands for a principal without tenants.
        """
        if self.tenants is None:
            return True
        return tenants is not None and set(tenants) <= set(self.tenants) and bool(tenants or not self.tenants)


EVERYWHERE = Reach()
"""The reach of a principal without limits."""
