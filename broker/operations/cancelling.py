"""Cancelling deliveries in bulk."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.access import Permission, Principal
from broker.audit import AuditType
from broker.deliveries import DeliveryState, Outcome
from broker.operations.bulk import audited_request, read_signal_filter
from broker.schemas.deliveries import CancelRequest
from broker.store.administration.audit import AuditStore
from broker.store.deliveries.bulk import BulkProgress
from broker.store.deliveries.cancelling import CancellingStore


class Canceller:
    """Cancels deliveries; every bulk cancellation is an audit event."""

    def __init__(self, cancelling: CancellingStore, audit: AuditStore) -> None:
        self._cancelling = cancelling
        self._audit = audit

    async def cancel(
        self, wanted: CancelRequest, *, by: Principal, after: tuple[int, int] = (0, 0)
    ) -> AsyncIterator[BulkProgress]:
        """Begin to cancel what is *wanted* after the delivery *after*; return its progress, chunk by chunk.

        Raises:
            InvalidField: The name can name no signal.
            PermissionDenied: *by* may not cancel deliveries of signals of that name.
        """
        signal_filter = read_signal_filter(wanted, by, Permission.DELIVERIES)
        if not wanted.dry_run:
            await self._audit.note(
                by, AuditType.DELIVERIES_CANCELLED, wanted.subscription_id or 0, after=audited_request(wanted)
            )
        return self._cancelling.cancel(
            signal_filter,
            state=DeliveryState(wanted.state),
            subscription_id=wanted.subscription_id,
            deleted=wanted.subscription_deleted,
            outcome=None if wanted.outcome is None else Outcome(wanted.outcome),
            status=wanted.status,
            after=after,
            dry_run=wanted.dry_run,
        )
