"""The quarantine: messages that failed alone are tried again aside from the others, and some are found to be poison.

    failed alone --> aside --pause, handled alone--> succeeded: settled
                      ^  |
                      +--+ failed again: a longer pause
                         |
                         +--> poison: failed often enough, while others of the queue succeeded
                         +--> returned: held for too long, or the tries end, and nothing is known against the message

A fault of the system, such as a column that an older process does not fill, looks like many poisonous messages. So
success of other messages is asked for, and while there are more suspects than room no verdict is passed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from broker import metrics
from broker.errors import StoreUnavailable, TransportError
from broker.transport import Received, Settlement
from workers.settling import Settler

FAILURES = 8
"""How often a message must have failed alone before it is poison: for about half a minute."""
_AT_ONCE = 4
"""How many messages are tried at the same time: more would take what the batches of others need."""
_GROWTH = 16
"""The longest pause, as a multiple of the first."""
_RELIEF = 64
"""For how long at most no batch is taken while the quarantine is crowded, as a multiple of the first pause."""
_CROWDED = 2 * _RELIEF
"""For how long after a message was turned away none is found to be poison, as a multiple of the first pause."""

log = structlog.get_logger()


class Quarantine:
    """Tries each of its messages alone, a few at the same time. An async context manager: leaving it ends the tries.

    Args:
        settler: Handles and settles the messages.
        leaving: While it is set, nothing is tried again.
        room: How many messages it holds at most that may be poison.
        postponed: How many it holds at most that met nothing but faults of others: of the store, say.
        pause: The pause before its first try; each further pause is twice as long, up to 16 times *pause*.
    """

    def __init__(
        self, settler: Settler, leaving: asyncio.Event, *, room: int, postponed: int, pause: timedelta
    ) -> None:
        self._settler = settler
        self._leaving = leaving
        self._room = {True: room, False: postponed}
        self._holds = {True: 0, False: 0}
        """How many messages it holds, by whether they were suspected when they came."""
        self._pause = pause.total_seconds()
        self._held = metrics.QUARANTINED.labels(settler.queue)
        self._trying = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._since = float("-inf")
        self._witnessed = float("-inf")
        self._crowded_until = float("-inf")
        self._relieved = asyncio.Event()
        self._log = log.bind(queue=settler.queue)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __len__(self) -> int:
        """Return how many messages it holds."""
        return len(self._tasks)

    def witness(self, began: float) -> None:
        """Note that other messages were handled successfully; *began*: when that began, in the loop's time."""
        self._witnessed = max(self._witnessed, began)

    def has_witness(self, *, since: float) -> bool:
        """Return whether other messages were handled successfully after that moment."""
        return self._witnessed > since

    def admit(self, message: Received, *, since: float, until: float, failures: int) -> bool:
        """Hold *message* and try it alone, if there is room; return whether there was.

        Args:
            message: A message whose handling failed.
            since: When it failed for the first time, in the loop's time.
            until: When it is returned to its queue, in the loop's time.
            failures: How often it has failed alone through a fault that may be its own.
        """
        suspected = failures > 0
        if self._holds[suspected] >= self._room[suspected]:
            if suspected:
                self._note_crowd()
            return False
        if not self._tasks:
            self._since = since
        task = asyncio.create_task(self._try_alone(message, since, until, failures))
        self._tasks.add(task)
        self._holds[suspected] += 1
        self._held.inc()
        task.add_done_callback(partial(self._release, suspected=suspected))
        return True

    @property
    def is_hopeless(self) -> bool:
        """Whether it is crowded, and nothing has succeeded since its first message failed: no other will, either."""
        return self._is_crowded and self._witnessed <= self._since

    async def wait_for_relief(self) -> None:
        """While it is crowded, wait until one of its messages succeeds, or for half a minute by default."""
        if self._is_crowded:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RELIEF * self._pause):
                    await self._relieved.wait()

    @property
    def _is_crowded(self) -> bool:
        return asyncio.get_running_loop().time() < self._crowded_until

    def _note_crowd(self) -> None:
        if not self._is_crowded:
            self._log.error("quarantine.crowded", messages=len(self._tasks), hint="the fault is not in the messages")
        self._crowded_until = asyncio.get_running_loop().time() + _CROWDED * self._pause
        self._relieved.clear()

    def _release(self, task: asyncio.Task[None], *, suspected: bool) -> None:
        self._tasks.discard(task)
        self._holds[suspected] -= 1
        self._held.dec()

    async def _try_alone(self, message: Received, since: float, until: float, failures: int) -> None:
        clock = asyncio.get_running_loop().time
        pause = self._pause
        while clock() + pause < until and not await self._leaves_within(pause):
            pause = min(2 * pause, _GROWTH * self._pause)
            try:
                async with self._trying:
                    began = clock()
                    acked = await self._settler.handle([message])
            except (StoreUnavailable, TransportError) as error:
                self._log.warning("message.postponed", error=str(error), pause=pause)
            except Exception as error:  # noqa: BLE001  (the first failure was logged with its traceback)
                failures += 1
                self._log.warning("message.failed", error=repr(error), failures=failures, pause=pause)
            else:
                if acked:
                    self._relieve(began)
                return
            if failures >= FAILURES and self._witnessed > since and not self._is_crowded:
                self._log.error("message.poisoned", failures=failures)
                await self._settler.settle([message], Settlement.REJECT)
                return
        self._log.warning("messages.returned", messages=1)
        await self._settler.settle([message], Settlement.RETURN)

    async def _leaves_within(self, pause: float) -> bool:
        """Return, after so many seconds at most, whether nothing is to be tried any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._leaving.wait()
        return self._leaving.is_set()

    def _relieve(self, began: float) -> None:
        self.witness(began)
        self._crowded_until = float("-inf")
        self._relieved.set()
