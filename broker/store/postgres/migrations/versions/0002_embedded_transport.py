"""The embedded transport's exchanges, queues, bindings and messages."""

from broker.store.postgres.migrate import run_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply ``0002.sql``."""
    run_script(revision)
