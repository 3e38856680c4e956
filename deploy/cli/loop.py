"""The event loop of a command."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import uvloop

_CANCELLATIONS = 2
"""So many Ctrl-C cancel the command, which closes everything and says how far it came; the next one ends it at once."""


def run_async(work: Coroutine[Any, Any, None]) -> None:
    """Run *work* on uvloop. SIGINT and SIGTERM cancel it, unless *work* handles them itself.

    Raises:
        KeyboardInterrupt: It was interrupted.
        SystemExit: It was terminated.
    """
    interrupts: list[signal.Signals] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_interruptible(work, interrupts))
        except asyncio.CancelledError:
            if signal.SIGINT in interrupts:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + signal.SIGTERM) from None


async def _interruptible(work: Coroutine[Any, Any, None], interrupts: list[signal.Signals]) -> None:
    """Run *work* as a task of its own: only that is cancelled, and wherever it waits."""
    task = asyncio.create_task(work)

    def interrupt(number: signal.Signals) -> None:
        interrupts.append(number)
        if interrupts.count(signal.SIGINT) > _CANCELLATIONS:
            raise KeyboardInterrupt
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    await task
