"""Signals that have expired: to wait for the moment would be a race against their recording."""

from __future__ import annotations

from broker.store.postgres.database import Database


async def expire(database: Database, *signal_ids: int) -> None:
    """Let recorded signals have expired just now."""
    await database.execute("UPDATE signals SET expires_at = now() WHERE id = ANY ($1)", signal_ids)
    await database.execute("UPDATE deliveries SET expires_at = now() WHERE signal_id = ANY ($1)", signal_ids)
    await database.execute("UPDATE subscriptions SET consumed_until = now() WHERE consumed_by = ANY ($1)", signal_ids)
