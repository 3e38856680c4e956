"""The administration of signal endpoints."""

from broker.store.postgres.migrate import run_script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply ``0005.sql``."""
    run_script(revision)
