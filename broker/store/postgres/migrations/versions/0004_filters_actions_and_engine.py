"""Filters, actions, and what the delivery engine keeps."""

from broker.store.postgres.migrate import run_script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply ``0004.sql``."""
    run_script(revision)
