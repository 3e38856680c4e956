"""${message}."""

from broker.store.migrate import run_script

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Apply ``${up_revision}.sql``."""
    run_script(revision)
