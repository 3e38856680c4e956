"""The command line on a laptop: it knows a URL and a token, and nothing else of the product."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext
from typing import Any

from aiohttp import web

from tests.support import commands
from tests.support.commands import Command
from tests.support.product import Client

IN_A_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from deploy.cli.main import main
main(sys.argv[1:])
"""
"""Takes its standard input as its own terminal, which questions are asked in."""


class Laptop:
    """A home directory, and the environment of the commands that are called there.

    Args:
        home: Where profiles are stored.
        settings: ``SIGNAL_BROKER_*`` variables without the prefix.
    """

    def __init__(self, home: Path, **settings: str) -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SIGNAL_BROKER_", "XDG_"))
            and not name.lower().endswith("_proxy")
            and name not in {"COLUMNS", "LINES", "NO_COLOR"}
        }
        nothing = {"HOME": str(home), "SIGNAL_BROKER_DATA_DIR": str(home / "nothing")}
        own = {f"SIGNAL_BROKER_{name}": value for name, value in settings.items()}
        self.home = home
        self.environment: Mapping[str, str] = inherited | nothing | own

    async def call(self, *arguments: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        environment = {**self.environment, **variables}
        return await asyncio.to_thread(commands.run, *arguments, environment=environment, given=given)

    async def ask(self, *arguments: str, given: str = "", **variables: str) -> Any:
        """Run a command that must succeed without a word on standard error; return the JSON that it printed."""
        done = await self.call(*arguments, "--json", given=given, **variables)
        assert (done.returncode, done.stderr) == (0, ""), done
        return json.loads(done.stdout)

    async def refusal(self, *arguments: str, given: str = "", **variables: str) -> str:
        """Run a command that must fail with one line, and return it."""
        done = await self.call(*arguments, given=given, **variables)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.startswith("Error: "), done
        assert done.stderr.count("\n") == 1, done
        return done.stderr.removeprefix("Error: ").strip()

    async def show(self, *arguments: str, columns: int = 80, **variables: str) -> str:
        """Run a command in a terminal of so many *columns*; return what that got, escape sequences included."""
        ours, theirs = _open_terminal(columns)
        environment = {**self.environment, **variables}
        command = Command(*arguments, environment=environment, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = await asyncio.to_thread(_read_all, ours)
        await command.wait()
        return shown.decode().replace("\r\n", "\n")

    async def talk(self, *arguments: str, **answers: str) -> str:
        """Run a command that asks in its terminal, and answer each question that begins like the name of an answer.

        Return what the terminal showed.
        """
        ours, theirs = _open_terminal(80)
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", IN_A_TERMINAL, *arguments),
            env=self.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        shown = b""
        for question, answer in answers.items():
            while not shown.rstrip().endswith(b":") or question.encode() not in shown.splitlines()[-1]:
                shown += await asyncio.to_thread(os.read, ours, 65536)
            os.write(ours, answer.encode() + b"\n")
            shown += b"\n"
        shown += await asyncio.to_thread(_read_all, ours)
        assert await command.wait() == 0, shown
        return shown.decode()


def _open_terminal(columns: int) -> tuple[int, int]:
    """Return both ends of a new terminal of so many *columns*."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return ours, theirs


def _read_all(terminal: int) -> bytes:
    """Return what is written to *terminal*, until it is left."""
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # nobody has its other end any more
            os.close(terminal)
            return shown


async def token_of(client: Client, *permissions: str, **limits: object) -> str:
    """Return a new token."""
    made = await client.post("/v1/tokens", {"name": "laptop", "permissions": list(permissions), **limits})
    return str(made["token"])


@asynccontextmanager
async def other_server(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], *, tls: SSLContext | None = None
) -> AsyncIterator[str]:
    """Yield the URL of a server that is no signal-broker, and gives every request that *answer*."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
