"""Users."""

from broker.store.postgres.migrate import run_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply ``0003.sql``."""
    run_script(revision)
