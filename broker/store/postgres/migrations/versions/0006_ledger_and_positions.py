"""The ledger's counters and the order of recording."""

from broker.store.postgres.migrate import run_script

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply ``0006.sql``."""
    run_script(revision)
