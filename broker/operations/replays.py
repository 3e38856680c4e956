"""Replaying recorded signals to a subscription."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.access import Permission, Principal
from broker.audit import AuditType
from broker.errors import NotReceiving
from broker.limits import Pace
from broker.operations.bulk import audited_request, read_signal_filter
from broker.schemas.subscriptions import ReplayRequest
from broker.store.administration.audit import AuditStore
from broker.store.deliveries.bulk import BulkProgress
from broker.store.deliveries.replays import ReplayStore
from broker.subscriptions import Subscription


class Replayer:
    """Replays signals; every replay is an audit event."""

    def __init__(self, replays: ReplayStore, audit: AuditStore) -> None:
        self._replays = replays
        self._audit = audit

    async def replay(
        self, subscription: Subscription, wanted: ReplayRequest, pace: Pace, *, by: Principal, after_id: int = 0
    ) -> AsyncIterator[BulkProgress]:
        """Begin to replay what is *wanted* after the signal *after_id*; return its progress, chunk by chunk.

        Raises:
            InvalidField: The name can name no signal.
            PermissionDenied: *by* may not read signals of that name.
            NotReceiving: The subscription gets no signals any more.
        """
        signal_filter = read_signal_filter(wanted, by, Permission.READ)
        if not subscription.receives:
            why = "is disabled; resume it first" if subscription.disabled_because else "was consumed already"
            raise NotReceiving(f"Nothing is replayed: the subscription {why}.")
        if not wanted.dry_run:
            await self._audit.note(by, AuditType.SIGNALS_REPLAYED, subscription.id, after=audited_request(wanted))
        return self._replays.replay(subscription.id, signal_filter, pace, after_id=after_id, dry_run=wanted.dry_run)
