"""Holding throws to their quotas: each gateway counts on its own, and tells the others twice a second."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from logging import DEBUG, WARNING
from types import TracebackType
from typing import Self

import structlog
from cachetools import TTLCache

from broker.errors import QuotaExceeded, SignalBrokerError, StoreRefusal
from broker.quotas import LATER, Meter, Quota, QuotaKind, Subject, subjects_of
from broker.signals import Throw
from broker.store.administration.quotas import QuotaStore
from broker.store.events import EventStore
from broker.store.postgres.database import Database
from broker.store.subscriptions.subscriptions import SubscriptionStore

_EVERY = 0.5
"""Seconds between two reports."""
_RELOAD_EVERY = 30.0
"""Seconds after which quotas are read again in any case: a notification may have been missed."""
_KNOWN = 10_000
_COUNTED_FOR = 1.0
"""Seconds for which it is believed how many subscriptions a signal would be for."""

log = structlog.get_logger()


class Quotas:
    """The quotas of all throws that come in here. An async context manager.

    Without any quota nothing is counted and nothing reported.

    Args:
        database: Where quotas are, and what is used of them.
        clock: Monotonic seconds.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = QuotaStore(database)
        self._subscriptions = SubscriptionStore(database)
        self._gateway = uuid.uuid4()
        self._clock = clock
        self._quotas: dict[Subject, Quota] = {}
        self._meters: dict[Subject, Meter] = {}
        self._gateways = 1
        self._owed: TTLCache[object, int] = TTLCache(_KNOWN, _COUNTED_FOR, timer=clock)
        self._events = EventStore(database)
        self._refusals: Counter[tuple[Subject, str]] = Counter()
        self._stale = asyncio.Event()
        self._loaded = self._looked = float("-inf")
        self._forgot = datetime.min.replace(tzinfo=UTC).date()
        database.listen("quotas_changed", lambda _: self._stale.set())

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="quotas")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        with suppress(SignalBrokerError):
            await self._report_payloads()
            await self._report_refusals()

    @property
    def are_none(self) -> bool:
        """Whether there are no quotas."""
        return not self._quotas

    async def admit(self, throw: Throw, tenants: Sequence[str] | None) -> None:
        """Count *throw*, of a caller that is limited to *tenants* (None: not), towards the quotas that it falls under.

        Raises:
            QuotaExceeded: One of them is used up.
            StoreUnavailable: It could not be found out how many subscriptions the signal is for.
        """
        meters = [meter for subject in subjects_of(throw, tenants) if (meter := self._meter(subject)) is not None]
        try:
            await self._admit(throw, meters)
        except QuotaExceeded as error:
            self.note_refusal(error)
            raise

    def note_refusal(self, error: QuotaExceeded) -> None:
        """Note that something was refused because a quota is used up: it is told as an event within a second or so."""
        if error.subject is not None and len(self._refusals) < _KNOWN:
            kind, subject_id = error.subject
            self._refusals[Subject(QuotaKind(kind), subject_id), error.quota] += 1

    async def _admit(self, throw: Throw, meters: Sequence[Meter]) -> None:
        for meter in meters:
            meter.count()
        self._check(meters, throw)
        for meter in meters:
            most = meter.quota.deliveries_per_throw
            if most is not None and await self._count_receivers(throw, most + 1) > most:
                raise QuotaExceeded(
                    f"The signal is for more subscriptions than the quota deliveriesPerThrow of {meter.subject} allows"
                    f" ({most}).",
                    quota="deliveriesPerThrow",
                    retry_after=LATER,
                    subject=(meter.subject.kind.value, meter.subject.id),
                )
        self._check(meters, throw)  # others were admitted meanwhile
        for meter in meters:
            meter.take(throw)

    def _check(self, meters: Sequence[Meter], throw: Throw) -> None:
        for meter in meters:
            meter.check(throw, self._clock())

    def _meter(self, subject: Subject) -> Meter | None:
        quota = self._quotas.get(subject)
        if quota is None:
            return None
        if subject not in self._meters:
            self._meters[subject] = Meter(subject, quota, share=1 / self._gateways, now=self._clock())
        return self._meters[subject]

    async def _count_receivers(self, throw: Throw, most: int) -> int:
        """Return how many subscriptions *throw* is for, *most* if they are more."""
        key = throw.name, throw.scope, throw.tenant_id, throw.execution_id, throw.audience, most
        if key not in self._owed:
            self._owed[key] = len(await self._subscriptions.receivers(throw, most=most))
        return self._owed[key]

    async def _run(self) -> None:
        while True:
            try:
                await self._keep()
            except SignalBrokerError as error:
                awaits_schema = isinstance(error, StoreRefusal) and error.lacks_a_table
                log.log(DEBUG if awaits_schema else WARNING, "quotas.postponed", error=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY):
                    await self._stale.wait()

    async def _keep(self) -> None:
        """Read changed quotas, and report and learn what is used of them."""
        await self._report_refusals()
        now = self._clock()
        if self._stale.is_set() or now - self._loaded > _RELOAD_EVERY:
            self._stale.clear()
            self._quotas = await self._store.every()
            self._loaded = now
            self._meters = {subject: meter for subject, meter in self._meters.items() if subject in self._quotas}
            for subject, meter in self._meters.items():
                meter.quota = self._quotas[subject]
        if self._quotas and now - self._looked >= _EVERY * 0.9:
            await self._exchange(now)

    async def _exchange(self, now: float) -> None:
        since, self._looked = min(now - self._looked, 10.0), now
        for meter in self._meters.values():
            meter.look(since)
        await self._store.report_demands(
            self._gateway, {subject: meter.demand for subject, meter in self._meters.items()}
        )
        reported = await self._report_payloads()
        subjects = list(self._meters)
        await self._learn(subjects or [next(iter(self._quotas))], reported)
        self._meters = {subject: meter for subject, meter in self._meters.items() if not meter.is_idle(now)}
        if self._forgot != datetime.now(UTC).date():
            await self._store.forget()
            self._forgot = datetime.now(UTC).date()

    async def _learn(self, subjects: Sequence[Subject], reported: dict[Subject, int]) -> None:
        for subject, usage in (await self._store.usage(self._gateway, subjects)).items():
            self._gateways = max(1, usage.gateways)
            if subject in self._meters:
                self._meters[subject].learn(
                    others=usage.others,
                    gateways=usage.gateways,
                    payload_bytes=usage.payload_bytes,
                    reported=reported.get(subject, 0),
                )

    async def _report_refusals(self) -> None:
        """Note the refusals since the last time as events."""
        if not self._refusals:
            return
        refusals, self._refusals = self._refusals, Counter()
        try:
            await self._events.note_refusals(refusals)
        except SignalBrokerError:
            self._refusals += refusals
            raise

    async def _report_payloads(self) -> dict[Subject, int]:
        """Report what was accepted since the last time; return it."""
        unreported = {subject: meter.unreported for subject, meter in self._meters.items() if meter.unreported}
        if unreported:
            await self._store.report_payloads(unreported)
        return unreported
