"""Retries: what the result of an attempt makes of its delivery, and when the next attempt is made."""

from __future__ import annotations

import enum
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from broker.deliveries import GONE, DeliveryState, Outcome, Reason, Result

DEFAULT_SCHEDULE = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 1800, 7200, 21600, 43200, 86400))
"""Pauses between attempts: ten attempts over about a day, 45 hours at most; of an overloaded receiver over up to 90."""

RETRY_AFTER_LIMIT = timedelta(hours=24)
"""The longest ``Retry-After`` that is honoured."""


ANSWERS = {
    410: Outcome.GONE,
    429: Outcome.THROTTLED,
    502: Outcome.THROTTLED,
    503: Outcome.THROTTLED,
    504: Outcome.THROTTLED,
}
"""The meaning of HTTP statuses other than a 2xx and a plain error."""


class Verdict(enum.Enum):
    """What an outcome makes of the delivery."""

    DELIVERED = enum.auto()
    """It is done."""
    RETRIED = enum.auto()
    """There is another attempt after a part of the schedule's pause, if any is left."""
    SPARED = enum.auto()
    """The same, but after one to two of the schedule's pauses: the receiver is overloaded."""
    GIVEN_UP = enum.auto()
    """It is dead."""
    DISABLED = enum.auto()
    """It is dead, and its subscription is disabled."""


VERDICTS = {
    Outcome.SUCCEEDED: Verdict.DELIVERED,
    Outcome.REFUSED: Verdict.RETRIED,
    Outcome.THROTTLED: Verdict.SPARED,
    Outcome.GIVEN_UP: Verdict.GIVEN_UP,
    Outcome.GONE: Verdict.DISABLED,
    Outcome.TIMED_OUT: Verdict.SPARED,
    Outcome.UNREACHABLE: Verdict.RETRIED,
    Outcome.FORBIDDEN: Verdict.RETRIED,
    Outcome.UNROUTABLE: Verdict.RETRIED,
    Outcome.FAILED: Verdict.RETRIED,
}
"""The verdict on each outcome of an attempt that ended; one that was interrupted is repeated, whatever the schedule."""


def outcome_of(status: int) -> Outcome:
    """Return what a webhook's answer means: only a 2xx is success, and a redirect is a refusal like any other."""
    return Outcome.SUCCEEDED if 200 <= status < 300 else ANSWERS.get(status, Outcome.REFUSED)


def parse_retry_after(text: str, now: datetime) -> timedelta | None:
    """Return how long a ``Retry-After`` header (RFC 9110, 10.2.3: seconds or a date) asks to wait after *now*.

    Never negative and never over `RETRY_AFTER_LIMIT`; None when *text* is neither.
    """
    if re.fullmatch(r"[0-9]+", text):
        # Ten digits are beyond the limit already, and more would be beyond what a timedelta holds.
        pause = timedelta(seconds=int(text.lstrip("0")[:10] or "0"))
    else:
        try:
            date = parsedate_to_datetime(text)
            pause = date.replace(tzinfo=date.tzinfo or UTC) - now
        except (ValueError, OverflowError):
            return None
    return min(max(pause, timedelta()), RETRY_AFTER_LIMIT)


def make_schedule(pauses: Sequence[timedelta] | None, max_attempts: int | None) -> tuple[timedelta, ...]:
    """Return the schedule that *pauses* mean: *max_attempts* cuts them short, or repeats the last one.

    None stands for `DEFAULT_SCHEDULE`, and for one more attempt than pauses.

    Raises:
        ValueError: There are no pauses, and several attempts: none of them says when.
    """
    schedule = DEFAULT_SCHEDULE if pauses is None else tuple(pauses)
    if max_attempts is None:
        return schedule
    wanted = max_attempts - 1
    if wanted <= len(schedule):
        return schedule[:wanted]
    if not schedule:
        raise ValueError(
            "must be 1 if the schedule is empty: there is no pause between attempts that could be repeated"
        )
    return schedule + schedule[-1:] * (wanted - len(schedule))


def next_pause(
    schedule: tuple[timedelta, ...], attempt: int, result: Result, *, rng: random.Random | None = None
) -> timedelta | None:
    """Return how long to wait after failed attempt number *attempt*, or None when it was the last one.

    Full jitter: a random part of the schedule's pause. For an overloaded receiver (`Verdict.SPARED`) it is the whole
    pause, and a random part of it again. Never less than the receiver asked for with ``Retry-After`` (capped at
    `RETRY_AFTER_LIMIT`). *attempt* counts from 1, and from 1 again after the delivery was redriven.
    """
    if attempt > len(schedule):
        return None
    longest = schedule[attempt - 1]
    pause = longest * (rng or random).random()
    if VERDICTS[result.outcome] is Verdict.SPARED:
        pause += longest
    if result.retry_after is not None:
        pause = max(pause, min(result.retry_after, RETRY_AFTER_LIMIT))
    return pause


def judge(
    result: Result, schedule: tuple[timedelta, ...], attempt: int
) -> tuple[DeliveryState, timedelta | None, str | None]:
    """Return what *result* makes of the delivery, how long it is parked, if it is, and why it is not delivered.

    *attempt* is counted as by `next_pause`.
    """
    match VERDICTS[result.outcome]:
        case Verdict.DELIVERED:
            return DeliveryState.DELIVERED, None, None
        case Verdict.GIVEN_UP:
            return DeliveryState.DEAD, None, f"given up: {result.error}"
        case Verdict.DISABLED:
            return DeliveryState.DEAD, None, GONE
    pause = next_pause(schedule, attempt, result)
    if pause is None:
        return DeliveryState.DEAD, None, f"the last attempt failed: {result.error or result.outcome.value}"
    return DeliveryState.PARKED, pause, Reason.RETRY
