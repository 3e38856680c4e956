"""Prometheus and its promtool: those on PATH, or else Debian's package, which is installed where we are root."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.eventually import eventually
from tests.support.packages import can_install, install
from tests.support.ports import free_ports

PACKAGE = "prometheus"
PROGRAMS = ("prometheus", "promtool")
_MEMORY = {"GOMEMLIMIT": "256MiB", "GOMAXPROCS": "1"}


class PromtoolFailed(Exception):
    """Raised when promtool refused what it was given; the message is what it said."""


def is_there() -> bool:
    """Return whether this machine has Prometheus and promtool."""
    return all(map(shutil.which, PROGRAMS))


def provide_prometheus() -> None:
    """See that Prometheus and promtool are on PATH, and install them if they are not.

    Raises:
        RuntimeError: They cannot be installed; the message says what to install.
    """
    if not is_there() and can_install():
        install(PACKAGE, is_there=is_there)
    if not is_there():
        raise RuntimeError(f"the tests of metrics need programs of Prometheus on PATH: {', '.join(PROGRAMS)}")


def promtool(*arguments: str | Path, given: bytes = b"") -> str:
    """Run promtool with *arguments*, and *given* as its input; return what it printed, which is what it found.

    Raises:
        PromtoolFailed: Its exit status was not 0.
    """
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, timeout=60, check=False)
    printed = (done.stdout + done.stderr).decode()
    if done.returncode:
        raise PromtoolFailed(printed)
    return printed


class Prometheus:
    """A running Prometheus.

    Args:
        session: What calls it.
        url: Where it is.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return ``data`` of the answer of its API at *path*, below ``/api/v1``.

        Raises:
            AssertionError: It refuses, for example a query that it cannot read; the message says why.
        """
        async with self._session.get(f"{self._url}/api/v1/{path}", params=parameters) as answer:
            document = await answer.json()
        assert document["status"] == "success", (document["error"], parameters)
        return document["data"]

    async def query(self, expression: str) -> list[Any]:
        """Return the series that *expression* has now; each has ``metric``, its labels, and ``value``."""
        data = await self.ask("query", query=expression)
        assert data["resultType"] == "vector", expression
        series: list[Any] = data["result"]
        return series

    async def is_ready(self) -> bool:
        """Return whether it answers queries."""
        try:
            async with self._session.get(f"{self._url}/-/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False


@asynccontextmanager
async def running_prometheus(directory: Path, targets: Mapping[str, str], rules: Path) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that scrapes *targets* (host and port, by the label ``component``) every second.

    It evaluates *rules* as often. Its data are in *directory*. Their jobs and namespaces are ``signal-broker``.
    """
    labelled = [
        {"targets": [address], "labels": {"component": component, "namespace": "signal-broker"}}
        for component, address in targets.items()
    ]
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "signal-broker", "static_configs": labelled}],
    }
    file = directory / "prometheus.json"
    file.write_text(json.dumps(configuration))
    (port,) = free_ports(1)
    options = {
        "config.file": file,
        "storage.tsdb.path": directory / "tsdb",
        "web.listen-address": f"127.0.0.1:{port}",
        "query.timeout": "10s",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with (directory / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(PROGRAMS[0], *arguments, env=_MEMORY, stdout=log, stderr=log)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session:
            prometheus = Prometheus(session, f"http://127.0.0.1:{port}")
            await eventually(prometheus.is_ready)
            yield prometheus
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()
