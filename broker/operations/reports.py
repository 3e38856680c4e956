"""Reports of the signals that were accepted, for the books of the intake."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from broker.errors import SignalBrokerError
from broker.store.signals.intake_books import IntakeBooks, Range

_MOST = 100_000
"""How many ranges of ids are kept while PostgreSQL takes no reports."""

log = structlog.get_logger()


class AcceptanceReports:
    """Reports once a second which throws were answered, and once more when it is left.

    While PostgreSQL is away the ids are kept. A process that is killed has not reported its last second: those signals
    are as safe as others, but if one of them were lost, the books would not show it.

    Args:
        books: Where to report.
        every: Seconds between two reports.
    """

    def __init__(self, books: IntakeBooks, *, every: float = 1.0) -> None:
        self._books = books
        self._every = every
        self._accepted: list[int] = []
        self._kept: list[Range] = []
        self.note = self._accepted.append
        """Note the id of a signal whose throw is answered now."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="reports")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._report()
        if self._kept:
            log.warning("reports.left", ranges=len(self._kept))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self._report()

    async def _report(self) -> None:
        accepted = self._accepted.copy()
        self._accepted.clear()
        self._kept += ranges(accepted)
        if not self._kept:
            return
        try:
            await self._books.report_accepted(self._kept)
        except SignalBrokerError as error:
            log.warning("reports.postponed", error=str(error))
            self._keep_newest()
        else:
            self._kept = []

    def _keep_newest(self) -> None:
        surplus = len(self._kept) - _MOST
        if surplus > 0:
            log.error("reports.dropped", ranges=surplus, first_id=self._kept[0][0], last_id=self._kept[surplus - 1][1])
            del self._kept[:surplus]


def ranges(ids: Iterable[int]) -> list[Range]:
    """Return the ranges of consecutive *ids*, ascending."""
    found: list[Range] = []
    for one in sorted(ids):
        if found and one <= found[-1][1] + 1:
            found[-1] = (found[-1][0], one)
        else:
            found.append((one, one))
    return found
