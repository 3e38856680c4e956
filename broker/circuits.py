r"""Circuits: a target that seems to be down is left alone, and tried again by one attempt at a time.

        20 failures without a success        a window of about 2 s is over
closed ------------------------------> open ------------------------------> half open --+ one attempt
  ^                                      ^                                    |    ^    | at a time
  |                                      +---- it failed: twice the window ---+    +----+
  +------------------------------------ it succeeded ---------------------------+
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.deliveries import Outcome, Result

THRESHOLD = 20
"""How many failures without a success between them open a circuit."""
FIRST_WINDOW = timedelta(seconds=2)
LONGEST_WINDOW = timedelta(minutes=5)
LONGEST_SPREAD = timedelta(seconds=10)
"""Over how long the deliveries that wait for a circuit come back, at most."""

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


class Phase(enum.StrEnum):
    """What a circuit does with a delivery."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True, kw_only=True)
class Circuit:
    """One target since its last success; without any failure since, there is no circuit.

    Args:
        failures: Failures so far.
        openings: How often it opened.
        retry_at: When the target may be tried again; None: it is not open.
        probing_until: When the attempt that tries it again has come to an end, or was killed.
    """

    failures: int = 0
    openings: int = 0
    retry_at: datetime | None = None
    probing_until: datetime | None = None

    def phase(self, now: datetime) -> Phase:
        """Return what it does *now*."""
        if self.retry_at is None:
            return Phase.CLOSED
        return Phase.OPEN if now < self.retry_at else Phase.HALF_OPEN

    def next_look(self, now: datetime, *, rng: random.Random | None = None) -> datetime | None:
        """Return when to ask for admission again; None if the delivery may go *now*."""
        if self.retry_at is None:
            return None
        probing = self.probing_until is not None and now < self.probing_until
        if now >= self.retry_at and not probing:
            return None
        return max(self.retry_at, now) + min(self._window, LONGEST_SPREAD) * (rng or random).random()

    def begin_probe(self, until: datetime) -> None:
        """Mark the target as being probed until *until*."""
        self.probing_until = until

    def end_probe(self) -> None:
        """Note that the attempt said nothing of the target; the next one may try."""
        self.probing_until = None

    def fail(self, now: datetime, *, probe: bool, rng: random.Random | None = None) -> bool:
        """Note a failure; return whether it opened the circuit (again).

        While it is open only the *probe* counts: others were under way when it opened.
        """
        self.failures += 1
        if self.failures < THRESHOLD or (self.retry_at is not None and not probe):
            return False
        self.openings += 1
        self.probing_until = None
        self.retry_at = now + self._window * (rng or random).random()
        return True

    @property
    def _window(self) -> timedelta:
        """The longest that this opening may last."""
        # The exponent is bounded, because a timedelta is.
        return min(FIRST_WINDOW * (1 << min(self.openings - 1, 20)), LONGEST_WINDOW)
