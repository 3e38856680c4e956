"""What redriving, cancelling and replaying in bulk have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.access import Permission, Principal, require_permission
from broker.names import check_name, is_pattern
from broker.schemas import BulkSelection
from broker.store.deliveries.bulk import SignalFilter


def read_signal_filter(wanted: BulkSelection, principal: Principal, permission: Permission) -> SignalFilter:
    """Return which signals *wanted* is about, within those that *principal* sees.

    Raises:
        InvalidField: The name can name no signal.
        PermissionDenied: *principal* does not have *permission* for signals of that name.
    """
    if wanted.name is not None:
        check_name(wanted.name)
        if not is_pattern(wanted.name):
            require_permission(principal, permission, wanted.name)
    return SignalFilter(
        name=wanted.name,
        since=wanted.since,
        until=wanted.until,
        names=principal.names,
        tenants=principal.tenants,
        untenanted=principal.untenanted,
    )


def audited_request(wanted: BulkSelection) -> Mapping[str, Any]:
    """Return *wanted* as an audit event shows it."""
    return wanted.model_dump(mode="json", by_alias=True, exclude_none=True)
