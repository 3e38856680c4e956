"""A process that has imported all of ``signal-broker``, and forks itself for every command: an import takes a second.

It listens on its standard input, a Unix socket, and ends with the process that started it. A connection is one command:

    to the server     {"arguments": [...], "environment": {...}, "directory": "..."} in a line,
                      and the descriptors of stdin, stdout and stderr
    from the server   the command's process id, and later its exit status, in a line each
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module

from deploy.cli import main as command_line

LINE_LIMIT = 1 << 20


def preload() -> None:
    """Import what the commands would import."""
    for section in command_line.COMMANDS.values():
        for module, _ in section.values():
            import_module(f"deploy.cli.{module}")
    import_module("broker.store.postgres.migrate")
    import_module("deploy.cli.direct")
    gc.freeze()


class ForkServer:
    """Forks a child for each connection, and tells it there how the child ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._wakeup, self._notify = socket.socketpair()
        self._wakeup.setblocking(False)
        self._notify.setblocking(False)
        self._connections: dict[int, socket.socket] = {}
        self._parent = os.getppid()

    def run(self) -> list[str] | None:
        """Serve until the parent is gone. In a child: return the arguments of its command."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._notify.fileno())
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while os.getppid() == self._parent:
                for key, _ in selector.select(timeout=1):
                    if key.fileobj is self._wakeup:
                        self._reap()
                    elif (arguments := self._fork()) is not None:
                        return arguments
        return None

    def _fork(self) -> list[str] | None:
        connection, _ = self._listener.accept()
        text, descriptors, _, _ = socket.recv_fds(connection, LINE_LIMIT, 3)
        while not text.endswith(b"\n"):
            text += connection.recv(LINE_LIMIT)
        request = json.loads(text)
        pid = os.fork()
        if pid == 0:
            connection.close()
            self._become_child(descriptors)
            os.chdir(request["directory"])
            os.environ.clear()
            os.environ.update(request["environment"])
            return list(request["arguments"])
        for descriptor in descriptors:
            os.close(descriptor)
        self._connections[pid] = connection
        connection.sendall(b"%d\n" % pid)
        return None

    def _become_child(self, descriptors: list[int]) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        for end in (self._listener, self._wakeup, self._notify, *self._connections.values()):
            end.close()

    def _reap(self) -> None:
        self._wakeup.recv(4096)
        while self._connections:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self._connections.pop(pid) as connection, suppress(BrokenPipeError):
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    preload()
    command = ForkServer(socket.socket(fileno=os.dup(0))).run()
    if command is not None:
        sys.argv = ["signal-broker", *command]
        command_line.main()
