"""Audit events: each tells who changed what, and when."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


class AuditType(enum.StrEnum):
    """What was changed, and how. Those of signal endpoints are named as Unleash names them."""

    ENDPOINT_CREATED = "signal-endpoint-created"
    ENDPOINT_UPDATED = "signal-endpoint-updated"
    ENDPOINT_DELETED = "signal-endpoint-deleted"
    ENDPOINT_TOKEN_CREATED = "signal-endpoint-token-created"  # noqa: S105  (a type)
    ENDPOINT_TOKEN_UPDATED = "signal-endpoint-token-updated"  # noqa: S105  (a type)
    ENDPOINT_TOKEN_DELETED = "signal-endpoint-token-deleted"  # noqa: S105  (a type)
    ENDPOINT_TOKEN_ROTATED = "signal-endpoint-token-rotated"  # noqa: S105  (a type)
    TOKEN_CREATED = "api-token-created"  # noqa: S105  (a type)
    TOKEN_ROTATED = "api-token-rotated"  # noqa: S105  (a type)
    TOKEN_REVOKED = "api-token-revoked"  # noqa: S105  (a type)
    USER_CREATED = "user-created"
    USER_UPDATED = "user-updated"
    USER_DELETED = "user-deleted"
    SESSION_STARTED = "session-started"
    SESSION_ENDED = "session-ended"
    """By signing out."""
    SUBSCRIPTION_CREATED = "subscription-created"
    """By a caller; a worker that registers its handlers is none."""
    SUBSCRIPTION_UPDATED = "subscription-updated"
    SUBSCRIPTION_DELETED = "subscription-deleted"
    SUBSCRIPTION_PAUSED = "subscription-paused"
    SUBSCRIPTION_RESUMED = "subscription-resumed"
    SUBSCRIPTION_CIRCUIT_CLOSED = "subscription-circuit-closed"
    SUBSCRIPTION_SECRET_ROTATED = "subscription-secret-rotated"  # noqa: S105  (a type)
    SUBSCRIPTION_TESTED = "subscription-tested"
    """Audited when a worker is asked, before the test begins."""
    SIGNALS_REPLAYED = "signals-replayed"
    """Of a subscription. Bulk operations are audited before they begin."""
    DELIVERIES_REDRIVEN = "deliveries-redriven"
    """Of a subscription, or of all (0)."""
    DELIVERIES_CANCELLED = "deliveries-cancelled"
    """Of a subscription, or of all (0)."""
    DELIVERY_REDRIVEN = "delivery-redriven"
    """Of a subscription; a single one."""
    DELIVERY_CANCELLED = "delivery-cancelled"
    """Of a subscription."""
    SIGNAL_CANCELLED = "signal-cancelled"
    """A scheduled one."""
    WEBHOOK_KEY_ROTATED = "webhook-key-rotated"
    """The subject is the new key."""
    QUOTA_SET = "quota-set"
    """Of a token, or of a tenant (0)."""
    QUOTA_REMOVED = "quota-removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One recorded change.

    Args:
        id: Ascends in the order of the changes.
        created_at: When it was changed.
        type: What was changed, and how: an `AuditType`, of this version or of another one.
        subject_id: The id of what was changed.
        principal: The name of the principal that changed it.
        user_id: The id of the principal's user, if it is one.
        token_id: The id of the principal's API token, if it is in the store.
        names: The names that the principal was limited to; None: it was not, or an earlier version wrote the event.
        tenants: The tenants that it was limited to; None likewise.
        before: The subject before the change, without secrets; None if it was created.
        after: The subject after the change, without secrets; None if it was deleted.
    """

    id: int
    created_at: datetime
    type: str
    subject_id: int
    principal: str
    user_id: int | None
    token_id: int | None
    names: tuple[str, ...] | None
    tenants: tuple[str, ...] | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
