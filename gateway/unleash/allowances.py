"""How often each signal endpoint may be called: so many times in every second, each second anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gateway.http_errors import TooMany


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a second: *limit* calls were allowed in it, *used* were made, this one included."""

    limit: int
    used: int

    @property
    def headers(self) -> dict[str, str]:
        """What every answer says of it, as Unleash does."""
        return {
            "RateLimit-Policy": f"{self.limit};w=1",
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(max(0, self.limit - self.used)),
            "RateLimit-Reset": "1",
        }

    def check(self) -> None:
        """Let the call pass if it was still allowed.

        Raises:
            TooMany: It was not.
        """
        if self.used > self.limit:
            raise TooMany("Too many requests, please try again later.")


class Allowances:
    """Counts calls. It remembers nothing but the present second, so whoever calls once costs no memory for long."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._second = -1
        self._used: Counter[int | None] = Counter()

    def take(self, endpoint_id: int | None, now: float) -> Allowance:
        """Count a call at *now* (seconds) for that endpoint; None stands for all callers with bad tokens together."""
        if int(now) != self._second:
            self._second, self._used = int(now), Counter()
        self._used[endpoint_id] += 1
        return Allowance(self._limit, self._used[endpoint_id])
