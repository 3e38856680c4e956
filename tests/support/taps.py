"""The taps of docs/examples, as their readers run them: programs that print what they get."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.node import NODE, install

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
PROGRAMS = ("tap.py", "tap.mjs")


class Tap:
    """A running example."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self) -> dict[str, Any]:
        """Return the next message printed: its body, and the properties that it has, named as pika names them."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
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
        command = [NODE, await asyncio.to_thread(install, EXAMPLES) / program]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, url, queue, *bindings, stdout=pipe, stderr=pipe, limit=1 << 22
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            said = await process.stderr.readline()
            assert said.decode() == f"{queue} is bound\n", (said + await process.stderr.read()).decode()
        yield Tap(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
