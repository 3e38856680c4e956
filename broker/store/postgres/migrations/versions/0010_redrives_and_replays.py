"""What redriving in bulk needs."""

from broker.store.postgres.migrate import run_script

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Apply ``0010.sql``."""
    run_script(revision)
