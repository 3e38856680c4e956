"""The event loop of a command: it is cancelled when it is interrupted, or is asked to stop first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

_CANCELLATIONS = 2
"""So many Ctrl-C cancel the command, which closes everything and says how far it came; the next one ends it at once."""
_CLOSING, _PAUSE = 2.0, 0.25
"""Seconds that cancelled work may take to close everything, and those between the cancellations that follow."""
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def run_async(work: Coroutine[Any, Any, None]) -> None:
    """Run *work* on uvloop. SIGINT and SIGTERM cancel it.

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

    for number in _INTERRUPTS:
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    await task


def run_until_stopped(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run *work* on uvloop with an event: the first SIGINT or SIGTERM sets it, the second one cancels *work*.

    Cancelled, it ends within seconds, whatever does not answer. Once *work* has ended, such signals are ignored.

    Raises:
        SystemExit: It was cancelled; with the status of a process that the signal ended.
    """
    interrupts: list[signal.Signals] = []
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_stoppable(work, interrupts))
    except asyncio.CancelledError:
        raise SystemExit(128 + interrupts[0]) from None


async def _stoppable(
    work: Callable[[asyncio.Event], Coroutine[Any, Any, None]], interrupts: list[signal.Signals]
) -> None:
    loop, this, stopping = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
    task = asyncio.create_task(work(stopping))

    def interrupt(number: signal.Signals) -> None:
        if not stopping.is_set():
            stopping.set()
        elif not interrupts:
            interrupts.append(number)
            task.cancel()
            loop.call_later(_CLOSING, cancel_all)

    def cancel_all() -> None:
        for one in asyncio.all_tasks() - {this}:
            one.cancel()
        loop.call_later(_PAUSE, cancel_all)

    for number in _INTERRUPTS:
        loop.add_signal_handler(number, interrupt, number)
    try:
        await task
    finally:
        for number in _INTERRUPTS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # the program that stops PostgreSQL inherits it
