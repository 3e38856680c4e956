"""What becomes of a batch of messages: it is handled, divided, tried again, or returned to its queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import structlog

from broker import metrics
from broker.errors import StoreRefusal, StoreTimeout, StoreUnavailable, TransportError
from broker.store.postgres.database import DataError
from broker.transport import Received, Settlement
from workers.quarantine import Quarantine
from workers.settling import Apart, Settler

_TRIES = 2
"""How often a batch is tried before it is divided."""
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

log = structlog.get_logger()


class Batches:
    """Handles batches; several at a time may be under way.

    While the store or the transport is unavailable a batch is tried again after a pause. One that fails again, or
    otherwise, is divided until the message that is the cause is alone. What has been held for too long is returned to
    its queue.

    Args:
        settler: Handles and settles the messages.
        quarantine: Takes messages that failed alone, so that the others do not wait for them.
        leaving: While it is set, nothing is tried again.
        hold: How long a batch is held before what is left of it is returned to its queue.
    """

    def __init__(self, settler: Settler, quarantine: Quarantine, leaving: asyncio.Event, *, hold: timedelta) -> None:
        self._settler = settler
        self._quarantine = quarantine
        self._leaving = leaving
        self._hold = hold.total_seconds()
        self._log = log.bind(queue=settler.queue)

    async def process(self, messages: Sequence[Received]) -> None:
        """Handle *messages*; when this returns, each is settled, or in the quarantine."""
        clock = asyncio.get_running_loop().time
        start, since, tried = clock(), float("inf"), 0
        end = start + self._hold
        groups = [messages]
        while groups and clock() < end:
            group, began = groups.pop(), clock()
            try:
                if await self._settler.handle(group):
                    self._quarantine.witness(began)
                tried = 0
            except Apart as apart:
                groups += reversed(apart.groups)
            except (StoreUnavailable, TransportError) as error:
                tried += 1
                pause = _PAUSES[min(tried, len(_PAUSES)) - 1]
                few = isinstance(error, StoreRefusal) and error.may_be_of_one_row
                at_once = isinstance(error, StoreTimeout) or (few and self._quarantine.has_witness(since=start))
                parts = self._divide(group, until=end) if at_once or tried >= _TRIES else [group]
                if few and parts != [group]:  # the others may well pass
                    tried, pause = 0, 0.0 if at_once else pause
                groups += parts
                metrics.BATCHES_POSTPONED.labels(self._settler.queue).inc()
                self._log.warning("batch.postponed", error=str(error), messages=len(group), pause=pause)
                await self._pause(pause)
                if self._leaving.is_set():
                    break
            except Exception as error:  # noqa: BLE001  (logged by `_isolate`)
                since = min(since, began)
                groups += await self._isolate(group, error, since, until=end)
        if groups:
            await self._return([message for group in reversed(groups) for message in group])

    async def _isolate(
        self, group: Sequence[Received], error: Exception, since: float, *, until: float
    ) -> list[Sequence[Received]]:
        """Set *group* aside if it is one message, else return its halves: a message of it is the cause of *error*."""
        if len(group) > 1 and not self._quarantine.is_hopeless:
            self._log.warning("batch.divided", error=repr(error), messages=len(group))
            return _halves(group)
        if len(group) == 1 and self._quarantine.admit(group[0], since=since, until=until, failures=1):
            trace = None if isinstance(error, DataError) else error
            self._log.error("message.failed", error=repr(error), failures=1, exc_info=trace)
        else:
            await self._return(group)
        return []

    def _divide(self, group: Sequence[Received], *, until: float) -> list[Sequence[Received]]:
        """Return what is to be tried of *group*, the first one last.

        Whatever the error was, a message of the group may be the cause. If none is, few groups come of it: only the one
        that is tried is divided.
        """
        if len(group) > 1:
            return _halves(group)
        now = asyncio.get_running_loop().time()
        return [] if self._quarantine.admit(group[0], since=now, until=until, failures=0) else [group]

    async def _return(self, messages: Sequence[Received]) -> None:
        self._log.warning("messages.returned", messages=len(messages))
        await self._settler.settle(messages, Settlement.RETURN)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()


def _halves(group: Sequence[Received]) -> list[Sequence[Received]]:
    """Return the second half of *group*, and then the first."""
    middle = len(group) // 2
    return [group[middle:], group[:middle]]
