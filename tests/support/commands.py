"""The command ``signal-broker`` in processes of its own, forked from one that has imported it already."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]


class Command:
    """A running command.

    Args:
        arguments: What stands behind ``signal-broker``.
        environment: All of its environment.
        stdin: Where its standard input comes from: nowhere, unless it is a descriptor.
        stdout: The descriptor that it prints to.
        stderr: The descriptor that it logs to.
    """

    def __init__(
        self, *arguments: str, environment: Mapping[str, str], stdout: int, stderr: int, stdin: int | None = None
    ) -> None:
        self._status: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_server())
        document = {"arguments": arguments, "environment": dict(environment), "directory": str(Path.cwd())}
        request = json.dumps(document).encode() + b"\n"
        with open(os.devnull) as nothing:  # noqa: PTH123  (a descriptor)
            given = nothing.fileno() if stdin is None else stdin
            sent = socket.send_fds(self._connection, [request], [given, stdout, stderr])
        self._connection.sendall(request[sent:])
        self._answers = self._connection.makefile("rb")
        self.pid = int(self._answers.readline())

    @property
    def returncode(self) -> int | None:
        """Its exit status if it has ended; negative: the signal that ended it."""
        return self._status_within(0)

    async def wait(self) -> int:
        """Return its exit status once it has ended."""
        await eventually(lambda: self.returncode is not None, within=60, every=0.01)
        return self.wait_for(0)

    def wait_for(self, seconds: float) -> int:
        """Return its exit status once it has ended.

        Raises:
            TimeoutError: It has not within *seconds*.
        """
        status = self._status_within(seconds)
        if status is None:
            raise TimeoutError(f"{self.pid} has not ended within {seconds} s")
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def _status_within(self, seconds: float) -> int | None:
        if self._status is None:
            poll = select.poll()  # `select` takes no descriptors beyond 1,023
            poll.register(self._connection, select.POLLIN)
            if poll.poll(seconds * 1000):
                self._status = int(self._answers.readline())
                self._answers.close()
                self._connection.close()
        return self._status


def run(
    *arguments: str, environment: Mapping[str, str], given: str = "", timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; *given* is its standard input."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(given.encode())
        stdin.seek(0)
        command = Command(
            *arguments,
            environment=environment,
            stdin=stdin.fileno(),
            stdout=stdout.fileno(),
            stderr=stderr.fileno(),
        )
        try:
            status = command.wait_for(timeout)
        except TimeoutError:
            command.send_signal(signal.SIGKILL)
            command.wait_for(timeout)
            raise
        for file in (stdout, stderr):
            file.seek(0)
        return subprocess.CompletedProcess(list(arguments), status, stdout.read().decode(), stderr.read().decode())


@functools.cache
def _server() -> str:
    """Start the server of this process, and return where it listens."""
    directory = tempfile.mkdtemp(prefix="signal-broker-forks-")
    address = str(Path(directory) / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        server = subprocess.Popen([sys.executable, "-m", "tests.support.forkserver"], stdin=listener, cwd=ROOT)

    @atexit.register
    def end() -> None:
        server.kill()
        server.wait()
        Path(address).unlink()
        Path(directory).rmdir()

    return address
