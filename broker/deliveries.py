r"""Deliveries: one signal owed to one subscription, and the attempts at it.

             recorded              attempt succeeded
  (nothing) ---------> pending ------------------------> delivered
                       |  ^  \
      attempt failed,  |  |   \   attempt failed, schedule exhausted; or 410
      not the last one v  |    +------------------------> dead
                      parked  <----------------------------+
                        |        redriven
                        |
                        +--- subscription deleted ------> cancelled   (from pending, too)
"""

from __future__ import annotations

import enum
import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

DEFAULT_SCHEDULE = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 1800, 7200, 21600, 43200, 86400))
"""Pauses between attempts: ten attempts over about two days."""

RETRY_AFTER_LIMIT = timedelta(hours=24)
"""The longest ``Retry-After`` that is honoured."""


class State(enum.StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    PARKED = "parked"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Outcome(enum.StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    """The receiver took it: a 2xx answer, or a publisher confirm."""
    REFUSED = "refused"
    """The receiver answered and did not take it: any other status, a negative confirm."""
    THROTTLED = "throttled"
    """The receiver asked for less: 429, 502, 503, 504."""
    GONE = "gone"
    """The receiver wants nothing any more: 410."""
    TIMED_OUT = "timed_out"
    """No complete answer within the deadline."""
    UNREACHABLE = "unreachable"
    """No connection (DNS, TCP, TLS), a link lost half-way, or an answer that is not HTTP."""
    FORBIDDEN = "forbidden"
    """The egress guard does not let deliveries go to that address."""
    UNROUTABLE = "unroutable"
    """The target queue does not exist."""
    FAILED = "failed"
    """Our own fault: the attempt could not even be made (an unreadable secret, say)."""


ANSWERS = {
    410: Outcome.GONE,
    429: Outcome.THROTTLED,
    502: Outcome.THROTTLED,
    503: Outcome.THROTTLED,
    504: Outcome.THROTTLED,
}
"""What the HTTP statuses mean that are neither a 2xx nor a plain refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an attempt came to.

    Args:
        outcome: How it ended.
        status: HTTP status, where there was one.
        error: One line for the operator, where it did not succeed.
        excerpt: The first characters of the answer's body.
        retry_after: How long the receiver asked to be left alone.
    """

    outcome: Outcome
    status: int | None = None
    error: str | None = None
    excerpt: str | None = None
    retry_after: timedelta | None = None


def outcome_of(status: int) -> Outcome:
    """Return what a webhook's answer means: only a 2xx is success, and a redirect is a refusal like any other."""
    return Outcome.SUCCEEDED if 200 <= status < 300 else ANSWERS.get(status, Outcome.REFUSED)


def parse_retry_after(text: str, now: datetime) -> timedelta | None:
    """Return how long a ``Retry-After`` header (RFC 9110, 10.2.3: seconds or a date) asks to wait after *now*.

    Never negative and never over `RETRY_AFTER_LIMIT`; None when *text* is neither.
    """
    if re.fullmatch(r"[0-9]+", text):
        # Ten digits are beyond the limit already, and more would be beyond what a timedelta holds.
        pause = timedelta(seconds=int(text[:10]))
    else:
        try:
            date = parsedate_to_datetime(text)
            pause = date.replace(tzinfo=date.tzinfo or UTC) - now
        except (ValueError, OverflowError):
            return None
    return min(max(pause, timedelta()), RETRY_AFTER_LIMIT)


def delivery_id(signal_id: int, subscription_id: int) -> str:
    """Return the id of a delivery: derived, so that recording twice cannot make two of it."""
    return f"{signal_id}-{subscription_id}"


def parse_delivery_id(text: str) -> tuple[int, int]:
    """Return (signal id, subscription id).

    Raises:
        ValueError: *text* is not the id of a delivery.
    """
    signal_id, separator, subscription_id = text.partition("-")
    if not (
        separator
        and signal_id.isascii()
        and signal_id.isdigit()
        and subscription_id.isascii()
        and subscription_id.isdigit()
    ):
        raise ValueError(f"{text!r} is not a delivery id (<signal id>-<subscription id>)")
    ids = int(signal_id), int(subscription_id)
    if max(ids) >= 1 << 63:
        raise ValueError(f"{text!r} is not a delivery id (a number is over 63 bits)")
    return ids


@dataclass(frozen=True, slots=True)
class Due:
    """An attempt that is due: what a message in ``deliveries.attempt`` asks for.

    Args:
        signal_id: Half of the delivery's id.
        subscription_id: The other half.
        attempt: The number of the attempt to make, from 1. A message whose attempt was made already is out of date.
    """

    signal_id: int
    subscription_id: int
    attempt: int

    @property
    def delivery_id(self) -> str:
        """The delivery's id."""
        return delivery_id(self.signal_id, self.subscription_id)


def next_pause(
    schedule: tuple[timedelta, ...], attempt: int, result: Result, *, rng: random.Random | None = None
) -> timedelta | None:
    """Return how long to wait after failed attempt number *attempt*, or None when it was the last one.

    Full jitter: a random part of the schedule's pause, but never less than the receiver asked for with
    ``Retry-After`` (capped at `RETRY_AFTER_LIMIT`).
    """
    if attempt > len(schedule):
        return None
    pause = schedule[attempt - 1] * (rng or random).random()
    if result.retry_after is not None:
        pause = max(pause, min(result.retry_after, RETRY_AFTER_LIMIT))
    return pause
