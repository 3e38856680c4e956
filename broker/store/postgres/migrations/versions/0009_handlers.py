"""Handlers."""

from broker.store.postgres.migrate import run_script

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Apply ``0009.sql``."""
    run_script(revision)
