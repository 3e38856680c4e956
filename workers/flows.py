"""Flows: how fast those who wait for places get them, and whether their receivers are the reason."""

from __future__ import annotations

from dataclasses import dataclass, field

_JUDGED_AFTER = 0.3
"""Seconds after which the rate of those who wait is known."""
_NEWEST = 0.4
"""How much the latest look counts in a rate, and the latest attempt in whose time it took."""
_IDLE = 0.1
"""Places a second below which nothing is remembered of a flow in which nobody waits."""
_SLOW_RECEIVER = 0.8
"""From what part of the time of its attempts on a receiver is the reason that a flow is slow."""
_HORIZON = 1.5
"""Seconds of waiting for a slow receiver that are no reason to put messages off."""
_BUFFER = 1.0
"""For how many seconds ahead messages are recalled."""
_LEAST = 0.05
"""What part of a flow is left to surplus, even if others come all the time; so many are recalled each time."""
LOST_AFTER = 2.0
"""Seconds after which a recalled message is taken to have come to another deliverer."""


@dataclass(slots=True)
class Flow:
    """How the attempts of one subscription, or at one host, get places while some wait.

    Args:
        since: When the first one came (monotonic seconds).
        waiting: How many wait.
        served: How many got a place since the last look.
        coming: Which deliveries were recalled and have not come yet, with the moment until which they should.
    """

    since: float
    waiting: int = 0
    served: int = 0
    coming: dict[str, float] = field(default_factory=dict)
    _rate: float | None = None
    _called: float = 1.0

    def note(self, called: float) -> None:
        """Note that an attempt has ended; the receiver took *called* of its time (0 to 1)."""
        self._called += _NEWEST * (called - self._called)

    def look(self, now: float, since_last: float) -> None:
        """Update the rate *now*, so many seconds since the last look."""
        if self._rate is not None:
            self._rate += _NEWEST * (self.served / since_last - self._rate)
        elif now - self.since >= _JUDGED_AFTER:
            self._rate = self.served / (now - self.since)
        else:
            return
        self.served = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be remembered of it."""
        return not self.waiting and not self.coming and self._rate is not None and self._rate < _IDLE

    def most_waiting(self, patience: float) -> int:
        """Return how many may wait, the first of them, while others may be waiting behind them.

        *patience*: how many seconds they may wait if it is this process that is slow, and not the receiver: then it
        helps nobody to put them off.
        """
        if self._rate is None:
            return self.waiting
        return int(self._rate * (_HORIZON if self._called >= _SLOW_RECEIVER else patience))

    @property
    def soon(self) -> int:
        """How many will get places soon."""
        return int((self._rate or 0) * _BUFFER)

    @property
    def least(self) -> int:
        """How many of those that were put off may come in any case."""
        return int((self._rate or 0) * _LEAST)

    def ahead(self, now: float) -> int:
        """Return how many wait for places, or are on their way."""
        if self.coming:
            self.coming = {key: until for key, until in self.coming.items() if until > now}
        return self.waiting + len(self.coming)

    def expect(self, delivery_id: str, now: float) -> None:
        """Expect a delivery that was recalled *now*."""
        self.coming[delivery_id] = now + LOST_AFTER
