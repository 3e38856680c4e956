"""Ordered deliveries."""

from broker.store.postgres.migrate import run_script

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Apply ``0008.sql``."""
    run_script(revision)
