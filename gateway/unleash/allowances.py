"""The rate limit of signal endpoints: a number of calls in each second."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gateway.http_errors import TooMany


@dataclass(frozen=True, slots=True)
class Allowance:
    """The calls of one endpoint in a second: *limit* are allowed, *used* were made, the present one included."""

    limit: int
    used: int

    @property
    def headers(self) -> dict[str, str]:
        """The headers about the limit that Unleash adds to every answer."""
        return {
            "RateLimit-Policy": f"{self.limit};w=1",
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(max(0, self.limit - self.used)),
            "RateLimit-Reset": "1",
        }

    def check(self) -> None:
        """Check that the call is within the limit.

        Raises:
            TooMany: It is not.
        """
        if self.used > self.limit:
            raise TooMany("Too many requests, please try again later.")


class Allowances:
    """Counts calls. It remembers the present second only, so that an endpoint called once costs no memory for long."""

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
