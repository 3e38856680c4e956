"""Statistics: what happened to signals and deliveries, in steps of equal length, and how long deliveries took."""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from broker.errors import InvalidField

MINUTE, HOUR = 60, 3600
"""Seconds; what happened is added up for each of them."""
MINUTES_KEPT = timedelta(hours=48)
"""For how long the figures of minutes are kept; those of hours are kept as long as signals."""
MAX_STEPS = 1500
MAX_STEP = 31 * 24 * HOUR
"""Seconds."""
WIDTH = 1.1
"""How many times the end of a class of latencies is that of the class before; the first one ends at 1 ms."""

_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)
"""Steps are counted from here, so those of an hour or a day begin with one of UTC."""
_LAST = datetime(9000, 1, 1, tzinfo=UTC)


class Split(enum.StrEnum):
    """What statistics may be split by."""

    SUBSCRIPTION = "subscription"
    TENANT = "tenant"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time in steps of equal length.

    Args:
        since: When the first step begins.
        until: When the last one ends.
        step: Seconds, a multiple of 60.
    """

    since: datetime
    until: datetime
    step: int

    @property
    def steps(self) -> Sequence[datetime]:
        """When each step begins."""
        length = timedelta(seconds=self.step)
        return [self.since + number * length for number in range((self.until - self.since) // length)]

    @property
    def is_hourly(self) -> bool:
        """Whether the figures of hours suffice."""
        return self.step % HOUR == 0

    def spans(self, added_up_until: datetime) -> list[tuple[int, datetime, datetime]]:
        """Return which figures make up the steps: those of minutes or hours (seconds), from when, and until when.

        There are figures of hours until *added_up_until*.
        """
        if not self.is_hourly:
            return [(MINUTE, self.since, self.until)]
        middle = max(self.since, added_up_until)
        return _nonempty((HOUR, self.since, min(self.until, added_up_until)), (MINUTE, middle, self.until))

    def spans_in_all(self, added_up_until: datetime) -> list[tuple[int, datetime, datetime]]:
        """Return the figures that make up all steps together, as far as possible those of hours."""
        first, last = align(self.since, HOUR, up=True), min(align(self.until, HOUR), added_up_until)
        if first >= last:
            return [(MINUTE, self.since, self.until)]
        return _nonempty((MINUTE, self.since, first), (HOUR, first, last), (MINUTE, last, self.until))


def align(moment: datetime, step: int, *, up: bool = False) -> datetime:
    """Return the begin of the step of *step* seconds that *moment* is in; with *up* its end, unless it begins then."""
    past = (moment - _ORIGIN) % timedelta(seconds=step)
    return moment + (timedelta(seconds=step) - past) if up and past else moment - past


def make_window(since: datetime | None, until: datetime | None, step: int, *, now: datetime) -> Window:
    """Return the window of whole steps from *since* (else an hour before the end) to *until* (else *now*).

    Raises:
        InvalidField: The query parameter of that name, because it is empty, has more than 1500 steps, or reaches back
            to where there are no figures of minutes any more.
    """
    if step % MINUTE or not MINUTE <= step <= MAX_STEP:
        raise InvalidField("?step", f"must be a multiple of 60 seconds, from {MINUTE} to {MAX_STEP}")
    end = now if until is None else until
    if not _ORIGIN < end < _LAST:
        raise InvalidField("?until", "must be in this millennium")
    start = end - timedelta(hours=1) if since is None else since
    if start >= end:
        raise InvalidField("?since", "must be before `until`")
    if start < _ORIGIN:
        raise InvalidField("?since", "must be in this millennium")
    window = Window(align(start, step), align(end, step, up=True), step)
    if window.until - window.since > MAX_STEPS * timedelta(seconds=step):
        raise InvalidField("?step", f"makes more than {MAX_STEPS} steps of the time from `since` to `until`")
    if not window.is_hourly and window.since < align(now, step) - MINUTES_KEPT:
        raise InvalidField("?since", "reaches back for more than 48 hours, where `step` must be a multiple of 3600")
    return window


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What happened in one step.

    Args:
        at: When the step begins.
        key: Which group it is about: a subscription's id, a tenant, a name; empty: all, or those without a tenant.
        accepted: Signals, by the moment of their throws; of a subscription, those that are owed to it.
        recorded: The same, by the moment when they were recorded.
        delivered: Deliveries.
        dead: Deliveries.
        retried: Attempts that failed and are repeated.
        classes: The classes of latencies that its deliveries are in, ascending.
        counts: How many are in each of these.
    """

    at: datetime
    key: str = ""
    accepted: int = 0
    recorded: int = 0
    delivered: int = 0
    dead: int = 0
    retried: int = 0
    classes: Sequence[int] = ()
    counts: Sequence[int] = ()


def add_up(at: datetime, figures: Sequence[Figures]) -> Figures:
    """Return the sums of *figures*, which have one key, as those of the step that begins *at* this moment."""
    merged: dict[int, int] = {}
    for one in figures:
        for number, count in zip(one.classes, one.counts, strict=True):
            merged[number] = merged.get(number, 0) + count
    classes = sorted(merged)
    return Figures(
        at=at,
        key=figures[0].key,
        accepted=sum(one.accepted for one in figures),
        recorded=sum(one.recorded for one in figures),
        delivered=sum(one.delivered for one in figures),
        dead=sum(one.dead for one in figures),
        retried=sum(one.retried for one in figures),
        classes=classes,
        counts=[merged[number] for number in classes],
    )


def percentiles(figures: Figures, shares: Iterable[float]) -> list[float] | None:
    """Return the latencies in milliseconds that these *shares* of the deliveries did not exceed; None without any.

    Within a class the value is interpolated, so it is off by less than a tenth.
    """
    if not figures.counts:
        return None
    upto = list(accumulate(figures.counts))
    found = []
    for share in shares:
        rank = share * upto[-1]
        place = bisect_left(upto, rank)
        number, count = figures.classes[place], figures.counts[place]
        end = WIDTH**number
        start = end / WIDTH if number else 0.0
        found.append(end - (end - start) * (upto[place] - rank) / count)
    return found


def _nonempty(*spans: tuple[int, datetime, datetime]) -> list[tuple[int, datetime, datetime]]:
    return [span for span in spans if span[1] < span[2]]
