"""The programs of the benchmark: each is given a JSON document on standard input, and writes one when it has ended."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STDOUT = 1


async def run_json(module: str, given: Mapping[str, object]) -> dict[str, Any]:
    """Run a module of Python with a document, and return that which it writes."""
    document: dict[str, Any] = json.loads(await run(sys.executable, "-m", module, given=json.dumps(given)))
    return document


async def run(*command: str | Path, given: str = "") -> str:
    """Run a command and return what it printed."""
    done = await asyncio.to_thread(
        subprocess.run, command, input=given, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    return done.stdout


def write_json(document: object) -> None:
    """Write the document that `run_json` returns.

    Where Python's output is unbuffered, ``print`` loses the rest of a large one if a write takes only a part of it.
    """
    with open(STDOUT, "wb", closefd=False) as stdout:
        stdout.write(json.dumps(document).encode())
