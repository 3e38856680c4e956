"""Signals, subscriptions, deliveries, and who may do what."""

from broker.store.postgres.migrate import run_script

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply ``0001.sql``."""
    run_script(revision)
