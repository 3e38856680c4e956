"""The event loop of a command."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import uvloop


def run_async(work: Coroutine[Any, Any, None]) -> None:
    """Run *work* on uvloop. SIGTERM cancels it, so that everything is closed, unless *work* handles that itself."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_terminable(work))
        except asyncio.CancelledError:
            raise SystemExit(128 + signal.SIGTERM) from None


async def _terminable(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task
