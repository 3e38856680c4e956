r"""Circuits: a target that seems to be down, or asks for it, is left alone, and tried again by one attempt at a time.

They belong to a subscription and its target: a failure may be the fault of the one who calls.

        20 failures without a success,       a window of about 2 s is over,
        or `Retry-After`                     or the time that was asked for
closed ------------------------------> open ------------------------------> half open --+ one attempt
  ^                                      ^                                    |    ^    | at a time
  |                                      +---- it failed: twice the window ---+    +----+
  +------------------------------------ it succeeded ---------------------------+
"""

from __future__ import annotations

import enum
import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.deliveries import Outcome, Reason, Result
from broker.retries import RETRY_AFTER_LIMIT

THRESHOLD = 20
"""How many failures without a success between them open a circuit."""
FIRST_WINDOW = timedelta(seconds=2)
LONGEST_WINDOW = timedelta(minutes=5)
LASTING = 1 + math.ceil(math.log2(LONGEST_WINDOW / FIRST_WINDOW))
"""How often a circuit opens until it may be open for the longest: its target has been down for some minutes."""

_SIGNS = {
    Outcome.SUCCEEDED: True,
    Outcome.REFUSED: True,
    Outcome.GONE: True,
    Outcome.THROTTLED: False,
    Outcome.TIMED_OUT: False,
    Outcome.UNREACHABLE: False,
}


def is_up(result: Result) -> bool | None:
    """Return whether *result* says that the target is up, or that it is down; None if it says nothing of it."""
    if result.status is not None and result.status >= 500:
        return False
    return _SIGNS.get(result.outcome)


def asked_pause(result: Result) -> timedelta | None:
    """Return for how long *result* asks for no request at all, by any delivery: ``Retry-After`` with a 429 or 503."""
    if result.status not in {429, 503} or not result.retry_after:
        return None
    return min(result.retry_after, RETRY_AFTER_LIMIT)


class Phase(enum.StrEnum):
    """What a circuit does with a delivery."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True, kw_only=True)
class Circuit:
    """One target of a subscription since its last success; without any failure since, there is no circuit.

    Args:
        failures: Failures so far.
        openings: How often it opened.
        retry_at: When the target may be tried again; None: it is not open.
        probing_until: When the attempt that tries it again has come to an end, or was killed.
        spared_until: Until when the target asked for no requests, if it did.
        is_awaited: Whether deliveries may be waiting for it; a closed one that is awaited has yet to let them go.
    """

    failures: int = 0
    openings: int = 0
    retry_at: datetime | None = None
    probing_until: datetime | None = None
    spared_until: datetime | None = None
    is_awaited: bool = False

    def phase(self, now: datetime) -> Phase:
        """Return what it does *now*."""
        if self.retry_at is None:
            return Phase.CLOSED
        return Phase.OPEN if now < self.retry_at else Phase.HALF_OPEN

    def is_spared(self, now: datetime) -> bool:
        """Return whether the target asked for no requests *now*."""
        return self.spared_until is not None and now < self.spared_until

    def reason(self, now: datetime) -> Reason:
        """Return why a delivery that does not go *now* is parked."""
        return Reason.THROTTLED if self.is_spared(now) else Reason.CIRCUIT

    def lets_pass(self, now: datetime) -> bool:
        """Return whether a delivery may go *now*: nothing speaks against it, or it is the one that tries the target."""
        if self.retry_at is None:
            return True
        is_probed = self.probing_until is not None and now < self.probing_until
        return now >= self.retry_at and not is_probed and not self.is_spared(now)

    def begin_probe(self, until: datetime) -> None:
        """Mark the target as being probed until *until*."""
        self.probing_until = until

    def end_probe(self) -> None:
        """Note that the attempt said nothing of the target; the next one may try."""
        self.probing_until = None

    def fail(
        self, now: datetime, *, probe: bool, asked: timedelta | None = None, rng: random.Random | None = None
    ) -> bool:
        """Note a failure; return whether it opened the circuit (again).

        While it is open only the *probe* counts: others were under way when it opened. *asked*: for how long the
        target asks for no requests. That opens the circuit at once, and nothing but time ends it, or an operator: what
        was under way may still succeed.
        """
        self.failures += 1
        was_open = self.retry_at is not None and not probe
        if not was_open:
            self.probing_until = self.retry_at = None
            if self.failures >= THRESHOLD:
                self.openings += 1
                self.retry_at = now + self._window * (rng or random).random()
        if asked is not None:
            until = now + asked
            self.spared_until = max(self.spared_until or until, until)
            self.retry_at = max(self.retry_at or until, until)
        opened = self.retry_at is not None and not was_open
        self.is_awaited |= opened  # some may be left of those that waited when it was open before
        return opened

    @property
    def _window(self) -> timedelta:
        """The longest that this opening may last."""
        # The exponent is bounded, because a timedelta is.
        return min(FIRST_WINDOW * (1 << min(max(self.openings - 1, 0), 20)), LONGEST_WINDOW)
