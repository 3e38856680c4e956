"""The fast lane: subscriptions that are too slow for it make room, and go on in the slow one."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice

SLOW_AFTER = timedelta(seconds=1)
"""A subscription whose attempts take longer than this on average does not belong in the fast lane."""
_WEIGHT = 0.2
"""How much the latest attempt counts in the average."""
_REMEMBERED = 10_000
"""How many subscriptions are remembered; those that were attempted longest ago are forgotten."""


@dataclass(slots=True)
class _Record:
    """The attempts of one subscription: their average in seconds, and when those in the fast lane began."""

    seconds: float | None = None
    flying: dict[object, float] = field(default_factory=dict)

    @property
    def is_slow(self) -> bool:
        return self.seconds is not None and self.seconds > SLOW_AFTER.total_seconds()


class FastLane:
    """Knows, from this process's own attempts, which subscriptions are too slow for the fast lane.

    That is a subscription whose attempts are slow on average, or of whose attempts as many as a twentieth of the lane's
    capacity are under way for that long already; before its first one has ended, a single one is enough.

    Args:
        capacity: How many attempts the lane makes at a time.
        clock: Monotonic seconds.
    """

    def __init__(self, capacity: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._few = max(1, capacity // 20)
        self._clock = clock
        self._records: OrderedDict[int, _Record] = OrderedDict()

    def refuses(self, subscription_id: int) -> bool:
        """Return whether the next attempt of that subscription belongs in the slow lane."""
        record = self._records.get(subscription_id)
        return record is not None and (record.is_slow or self._is_stuck(record))

    def _is_stuck(self, record: _Record) -> bool:
        few = 1 if record.seconds is None else self._few
        start = next(islice(record.flying.values(), few - 1, None), None)
        return start is not None and self._clock() - start > SLOW_AFTER.total_seconds()

    @contextmanager
    def occupy(self, subscription_id: int) -> Iterator[None]:
        """Count an attempt of that subscription as one that the lane makes."""
        record, token = self._record(subscription_id), object()
        record.flying[token] = self._clock()
        try:
            yield
        finally:
            del record.flying[token]

    def note(self, subscription_id: int, duration: timedelta) -> None:
        """Note how long an attempt of that subscription took, in either lane."""
        record, seconds = self._record(subscription_id), duration.total_seconds()
        if record.seconds is None:
            record.seconds = seconds
        else:
            record.seconds += _WEIGHT * (seconds - record.seconds)

    def _record(self, subscription_id: int) -> _Record:
        record = self._records.setdefault(subscription_id, _Record())
        self._records.move_to_end(subscription_id)
        if len(self._records) > _REMEMBERED:
            self._records.popitem(last=False)
        return record
