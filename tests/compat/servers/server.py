"""A real server that runs, is reloaded and restarted, and notes what it got."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from tests.compat.servers.kinds import Kind
from tests.support.certificates import Authority
from tests.support.eventually import eventually

STOPS_WITHIN = 3
"""How long a server may take to stop, in seconds, before it is killed: some wait as long as connections are open."""


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """A server of *kind* in *directory*, before a *backend* if it passes requests on. An async context manager.

    Entering waits until it answers.
    """

    def __init__(self, kind: Kind, directory: Path, backend: Server | None = None) -> None:
        self._kind = kind
        self._directory = directory
        self.notes = directory / "notes" if backend is None else backend.notes
        """Where what takes the requests notes each."""
        self.port = free_port()
        self._places = {
            "{port}": str(self.port),
            "{admin}": str(free_port()),
            "{backend}": "" if backend is None else str(backend.port),
        }
        self._authority: Authority | None = None
        self.reloads = 0
        self.restarts = 0
        self.kills = 0
        """How often it was killed, to be started again, or because it did not stop."""

    @property
    def url(self) -> str:
        """Where it takes webhooks."""
        return f"{'https' if self._kind.tls else 'http'}://127.0.0.1:{self.port}/"

    @property
    def trust(self) -> Mapping[str, str]:
        """The settings of the product by which it trusts the server."""
        return {"EGRESS_CA_FILE": str(self._authority.pem)} if self._authority else {}

    async def __aenter__(self) -> Self:
        self._directory.mkdir()
        self._directory.chmod(0o755)  # for workers that run as nobody
        for name, text in self._kind.settings.items():
            (self._directory / name).write_text(self._fill(text))
        if self._kind.tls:
            self._authority = Authority(self._directory)
            self._authority.serving("127.0.0.1")
        if self._kind.build:
            await self._run(*self._kind.build)
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(signal.SIGKILL)

    async def reload(self) -> None:
        """Reload it, or restart it if it cannot be reloaded."""
        match self._kind.reload:
            case None:
                await self.restart()
            case signal.Signals() as number:
                self._process.send_signal(number)
                self.reloads += 1
            case command:
                await self._run(*map(self._fill, command))
                self.reloads += 1

    async def restart(self, *, kill: bool = False) -> None:
        """Stop it and start it again; *kill* it instead of asking it to stop."""
        await self._end(signal.SIGKILL if kill else self._kind.stop)
        await self._start()
        self.restarts += 1

    def requests(self) -> Counter[tuple[str, int]]:
        """Return how often it got each ``webhook-id`` with each attempt."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return Counter((webhook_id, int(number)) for webhook_id, number in map(str.split, lines))

    def _fill(self, text: str) -> str:
        for place, value in self._places.items():
            text = text.replace(place, value)
        return text

    async def _start(self) -> None:
        self._process = await self._execute(*map(self._fill, self._kind.command))
        await eventually(self._answers, within=60)

    async def _end(self, number: signal.Signals) -> None:
        """End it, and all that it has started."""
        if number is not signal.SIGKILL:
            self._process.send_signal(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOPS_WITHIN)
        self.kills += self._process.returncode is None
        with suppress(ProcessLookupError):  # its group is gone with it
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def _answers(self) -> bool:
        """Return whether it answers: some listen before they are ready for signals."""
        assert self._process.returncode is None, (self._directory / "log").read_text()[-3000:]
        async with aiohttp.ClientSession() as session:
            with suppress(aiohttp.ClientError):
                async with session.get(self.url, ssl=False) as answer:
                    return answer.status == 200
        return False

    async def _run(self, *command: str) -> None:
        """Run *command* to its end."""
        process = await self._execute(*command)
        assert await process.wait() == 0, (self._directory / "log").read_text()[-3000:]

    async def _execute(self, *command: str) -> asyncio.subprocess.Process:
        own = {name: str(self._directory) for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        environment = os.environ | own | {"NOTES": str(self.notes), "GO111MODULE": "off"}
        with (self._directory / "log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command, cwd=self._directory, env=environment, stdout=log, stderr=log, start_new_session=True
            )


async def version_of(kind: Kind) -> str:
    """Return the version of a server, as it tells it."""
    process = await asyncio.create_subprocess_exec(
        *kind.version, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return out.decode()
