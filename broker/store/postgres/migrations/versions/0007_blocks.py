"""Signals and what belongs to them in blocks, ranges of ids that are dropped by age."""

from broker.store.postgres.migrate import run_script

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply ``0007.sql``."""
    run_script(revision)
