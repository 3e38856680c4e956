r"""Deliveries: one signal owed to one subscription, and the attempts at it.

             recorded              attempt succeeded
  (nothing) ---------> pending ------------------------> delivered
                       |  ^  \
     attempt failed,   |  |   \   attempt failed, schedule exhausted; or the subscription is disabled (410)
     not the last one; |  |    +----------------------------> dead
     or it may not go  v  |                                   |
     now             parked  <--------------------------------+
                        |  |       redriven
                        |  +--- the subscription is disabled -> dead
                        |
                        +--- subscription deleted, or --> cancelled   (from pending, too)
                             signal cancelled or expired,
                             or given up by hand (and if it is dead)

A delivery of a signal for later, or of a replayed one, is parked at first. A parked delivery is released when it is due
(`due_at`). One without a `due_at` is waiting: until its subscription is resumed, a concurrency slot of its subscription
is free, it gets a rate reservation, the delivery before it in its ordering group has ended, or it is within its share
of the deliverers' attempts. A delivery to a pull target is pending while it can be leased, and while it is.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker.topology import ATTEMPT


class DeliveryState(enum.StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    PARKED = "parked"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Reason(enum.StrEnum):
    """Why a delivery is parked, or cannot be leased."""

    RETRY = "retry"
    """Its last attempt failed, or ended between two steps; or it was redriven."""
    PAUSED = "paused"
    """Its subscription is paused; it is waiting until that is resumed."""
    IN_FLIGHT = "in_flight"
    """Its subscription has as many attempts in flight as it may; it is waiting until one of them ends."""
    RATE = "rate"
    """Its subscription may make no more attempts this second; it is waiting for its reservation."""
    CIRCUIT = "circuit"
    """Its target seems to be down."""
    THROTTLED = "throttled"
    """Its target asked for no requests for a while (``Retry-After``)."""
    SCHEDULED = "scheduled"
    """Its signal was thrown for later."""
    ORDERED = "ordered"
    """Another one of its ordering group goes first; it is waiting until that has ended."""
    REPLAY = "replay"
    """Its signal was replayed to the subscription; it goes at a moment of the replay's pace."""
    SHARE = "share"
    """Its subscription, its host or its tenant has its share of the deliverers' attempts; it waits for one to end."""
    LEASED = "leased"
    """It is not parked: a caller has leased it, until its `due_at`."""


class Outcome(enum.StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    """The receiver took it: a 2xx answer, a publisher confirm, or a handler that returned."""
    REFUSED = "refused"
    """The receiver answered and did not take it: any other status, a negative confirm, an exception of a handler."""
    THROTTLED = "throttled"
    """The receiver asked for less: 429, 502, 503, 504; a handler's `TryLater`."""
    GIVEN_UP = "given_up"
    """The receiver says that another attempt would be useless: a handler's `GiveUp`."""
    GONE = "gone"
    """The receiver wants no more deliveries: 410."""
    TIMED_OUT = "timed_out"
    """No complete answer within the deadline."""
    UNREACHABLE = "unreachable"
    """No connection (DNS, TCP, TLS), a link lost half-way, or an answer that is not HTTP."""
    FORBIDDEN = "forbidden"
    """The egress guard does not allow deliveries to that address."""
    UNROUTABLE = "unroutable"
    """The target queue does not exist."""
    FAILED = "failed"
    """The broker's own fault: the attempt could not even be made (an unreadable secret, an unknown handler)."""
    INTERRUPTED = "interrupted"
    """Its deliverer was killed, or hung, before it stored an outcome; the receiver may have been called."""


NO_OUTCOME = "the deliverer was lost before it stored an outcome; the request may have been made"
"""The error of an attempt that was interrupted."""
BY_HAND = "cancelled by hand"
"""The reason of a delivery that a caller cancelled."""
GONE = "the target answered 410"
"""The reason of a subscription that is disabled by a 410, and of the dead delivery that met it."""
DELETED = "the subscription was deleted"
"""Why the deliveries of a deleted subscription are cancelled."""
EXCEEDED = "filter exceeded its budget"
"""Why a delivery is dead whose subscription's filter was not evaluated to its end: it may not match."""
EXPIRED = "expired"
"""Why the deliveries of an expired signal are cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What a webhook's request was, and what is known of its answer and its connection.

    Args:
        url: The URL that was called; values of its query that may be credentials are hidden.
        request_headers: The headers that were sent, in order; values that may be credentials are hidden.
        location: Where a redirect (3xx) leads.
        retry_after: The answer's ``Retry-After`` as the receiver wrote it, printable, at most 256 characters.
        address: The receiver's address and port, ``192.0.2.1:443`` or ``[2001:db8::1]:443``.
        tls: The version of TLS, ``TLSv1.3``.
        reused: Whether the connection was used before.
        resent: Why the request went out once more, on a new connection; None if it went out once.
        phases: The seconds of what took place: ``dns``, ``connect``, ``tls``, ``firstByte`` (from the request to the
            answer's first byte) and ``total``.
    """

    url: str
    request_headers: Mapping[str, str]
    location: str | None = None
    retry_after: str | None = None
    address: str | None = None
    tls: str | None = None
    reused: bool = False
    resent: str | None = None
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an attempt, or one of its steps, came to.

    Args:
        outcome: How it ended.
        status: HTTP status, where there was one.
        error: One line for the operator, where it did not succeed, or where the body of a 2xx answer did not end.
        excerpt: The first characters of the answer's body.
        retry_after: For how long the receiver asked for no further attempt.
        exchange: The request of a webhook, if one was made.
    """

    outcome: Outcome
    status: int | None = None
    error: str | None = None
    excerpt: str | None = None
    retry_after: timedelta | None = None
    exchange: Exchange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that an attempt made, of a delivery that has several.

    Args:
        number: Which one, from 1.
        address: The webhook that was called, if it was one; not stored.
        result: What it came to.
        duration: How long it took.
        started_at: When it began; None: an earlier version did not note it.
    """

    number: int
    address: str | None
    result: Result
    duration: timedelta
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that was made at a delivery.

    Args:
        number: Which one, from 1.
        started_at: When it began.
        duration: How long it took; None if it was interrupted.
        result: What it came to.
        steps: The steps that it made, if the delivery has any. The last one's result is the attempt's; if it was
            interrupted, those that succeeded before.
        worker: Who leased the delivery, if its target is a pull target and the caller said so.
    """

    number: int
    started_at: datetime
    duration: timedelta | None
    result: Result
    steps: tuple[Step, ...] = ()
    worker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A signal owed to a subscription.

    Args:
        signal_id: The signal.
        subscription_id: The subscription.
        state: Where it stands.
        reason: Why it is parked, dead or cancelled.
        due_at: Parked: when the next attempt is due, None while it is waiting. Pending: when it is rescued, or when its
            lease ends, None while it can be leased.
        created_at: When the signal was recorded.
        finished_at: When it was delivered, dead or cancelled.
        attempt_count: How many attempts were begun.
        attempts: The attempts, if they were asked for.
    """

    signal_id: int
    subscription_id: int
    state: DeliveryState
    reason: str | None
    due_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    attempt_count: int
    attempts: tuple[Attempt, ...] | None = None

    @property
    def id(self) -> str:
        """The delivery's id."""
        return delivery_id(self.signal_id, self.subscription_id)

    @property
    def is_leased(self) -> bool:
        """Whether a caller has leased it."""
        return self.state is DeliveryState.PENDING and self.reason == Reason.LEASED


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
class DueAttempt:
    """An attempt that is due: what a message in ``deliveries.attempt`` asks for.

    Args:
        signal_id: Half of the delivery's id.
        subscription_id: The other half.
        attempt: The number of the attempt to make, from 1. A message whose attempt has ended is out of date; if it was
            interrupted, the message stands for the next one.
        queue: The queue of the workers that make it.
        at: The moment that is reserved for it, by the store's clock, if its subscription has a `max_per_second`.
    """

    signal_id: int
    subscription_id: int
    attempt: int
    queue: str = ATTEMPT
    at: datetime | None = field(default=None, compare=False)

    @property
    def delivery_id(self) -> str:
        """The delivery's id."""
        return delivery_id(self.signal_id, self.subscription_id)
