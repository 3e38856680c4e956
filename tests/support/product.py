"""The product as its users run it: real processes of ``signal-broker``, and an HTTP client to talk to them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.support.commands import Command
from tests.support.eventually import eventually
from tests.support.moments import check_moments
from tests.support.ports import free_ports

ADMIN_TOKEN = "sb_test-administrator-token"
SECRET_KEY = "dGVzdC1rZXktdGVzdC1rZXktdGVzdC1rZXktdGVzdC0="
COMMAND = (sys.executable, "-m", "deploy.cli.main")


class Process:
    """One ``signal-broker`` process on a free port. An async context manager: entering waits until it is ready.

    Args:
        arguments: The command and its arguments, e.g. ``("worker", "recorder")``.
        environment: ``SIGNAL_BROKER_*`` settings without the prefix; loopback webhooks and a fixed admin token are
            set already.
        log: Where standard error goes.
        command: What ``signal-broker`` is; None: this checkout's, in a process forked with everything imported.
    """

    def __init__(
        self, *arguments: str, environment: Mapping[str, str], log: Path, command: Sequence[str] | None = None
    ) -> None:
        self.arguments = arguments
        self._command = command
        self.log = log
        self.url = ""
        self._environment = {
            "HTTP_PORT": str(*free_ports(1)),
            "HTTP_HOST": "127.0.0.1",
            "ADMIN_TOKEN": ADMIN_TOKEN,
            "SECRET_KEYS": SECRET_KEY,
            "EGRESS_ALLOW": "127.0.0.0/8",
            "LOG_FORMAT": "json",
            **environment,
        }

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.kill()
            await self.process.wait()

    async def start(self, *, within: float = 90) -> None:
        """Start it (again) and wait for its ``ready`` line; on the same port as before, if there was one."""
        await self.launch()
        await self.await_start(within=within)

    async def launch(self, *, command: Sequence[str] | None = None, **environment: str) -> None:
        """Start it (again) without waiting for it; *command* and *environment* hold until the next start."""
        settings = {f"SIGNAL_BROKER_{key}": value for key, value in (self._environment | environment).items()}
        with self.log.open("ab") as log, self._out.open("wb") as out:
            self.process = await self._execute(
                command or self._command, os.environ | settings, stdout=out.fileno(), stderr=log.fileno()
            )

    async def await_start(self, *, within: float = 90) -> None:
        """Wait for its ``ready`` line."""
        self.url = await eventually(self._ready_url, within=within)
        self._environment["HTTP_PORT"] = self.url.rsplit(":", 1)[1]

    @property
    def _out(self) -> Path:
        return self.log.with_suffix(".out")

    async def _execute(
        self, command: Sequence[str] | None, environment: Mapping[str, str], *, stdout: int, stderr: int
    ) -> Command | asyncio.subprocess.Process:
        if command is None:
            return Command(*self.arguments, environment=environment, stdout=stdout, stderr=stderr)
        return await asyncio.create_subprocess_exec(
            *command, *self.arguments, env=environment, stdout=stdout, stderr=stderr
        )

    def _ready_url(self) -> str | None:
        status = self.process.returncode
        assert status is None, f"{self.arguments} ended with {status}: {self.log.read_text()[-3000:]}"
        return self.announced

    @property
    def announced(self) -> str | None:
        """The URL in its ``ready`` line, if it has printed one."""
        lines = self._out.read_text().splitlines(keepends=True)
        return next((line.split()[1] for line in lines if line.startswith("ready ") and line.endswith("\n")), None)

    @property
    def peak(self) -> int:
        """The largest resident set that it has had, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) >> 10

    def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        self.process.send_signal(signal.SIGKILL)

    async def stop(self, *, within: float = 60) -> int:
        """Ask it to end, as Kubernetes does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(within):
            return await self.process.wait()


class Client:
    """Talks to a gateway as one caller. Each call returns (status, headers, body: JSON where it is)."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str = ADMIN_TOKEN) -> None:
        self._session = session
        self.url = url
        self.token = token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def caller(self, token: str) -> Client:
        """Return a client that calls with *token* (none, if it is empty)."""
        return Client(self._session, self.url, token)

    async def request(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> tuple[int, Mapping[str, str], Any]:
        """Send a request; ``json=`` and the like go to aiohttp."""
        async with self._session.request(
            method, self.url + path, data=data, headers={**self._headers, **(headers or {})}, **kwargs
        ) as response:
            body = await response.read()
            document = json.loads(body) if response.content_type.endswith("json") and body else body
            check_moments(document)
            return response.status, response.headers, document

    async def get(self, path: str) -> Any:
        """Return the JSON at *path*, which must be there."""
        status, _, body = await self.request("GET", path)
        assert status == 200, (status, body)
        return body

    async def post(self, path: str, document: object, *, expect: int | None = None, **headers: str) -> Any:
        """Post *document* as JSON and return the answer's; *expect* is the status it must have (any 2xx, if None)."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        status, _, body = await self.request("POST", path, json=document, headers=named)
        assert status == expect or (expect is None and 200 <= status < 300), (status, body)
        return body


@asynccontextmanager
async def client_of(url: str, token: str = ADMIN_TOKEN) -> AsyncIterator[Client]:
    """Yield a client of the gateway at *url*."""
    async with aiohttp.ClientSession() as session:
        yield Client(session, url, token)
