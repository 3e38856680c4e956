"""What the product is measured against: small programs as one would write them, as fast as their libraries let them.

Each is a process of its own, ``python -m tests.bench.baselines.<name>``. Those that serve or consume print
``ready <URL>`` and run until they are killed. The others read what to do from standard input, as JSON, and print what
came of it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

QUEUE = "bench"
QUORUM = {"x-queue-type": "quorum"}


@dataclass(frozen=True)
class Program:
    """A running baseline."""

    url: str
    pid: int


@asynccontextmanager
async def running(name: str, *arguments: str) -> AsyncIterator[Program]:
    """Run a baseline that serves or consumes until the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.bench.baselines.{name}", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        assert line.startswith(b"ready"), f"{name} does not start"
        yield Program(line.removeprefix(b"ready").strip().decode(), process.pid)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
