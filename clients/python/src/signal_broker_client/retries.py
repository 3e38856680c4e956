"""When a request is sent again, and when the client gives up."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from .errors import Unavailable, Unreadable
from .requests import Request

_AGAIN = {429, 500, 502, 503, 504}
_CERTAIN = {429}
"""The statuses of a request that was certainly not carried out."""
_PASSING = {408, 425, 429}
"""The statuses 4xx that say nothing of the request itself."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_LEAST_TIMEOUT = 0.001
_WARNING_SECONDS = 30.0
"""How often it is said that a persistent request has no answer, and the longest pause before it is sent again."""

log = logging.getLogger("signal_broker_client")


class Retries:
    """The attempts at one request, which take *patience* seconds at most, pauses included.

    The server's `Retry-After` is obeyed; if it asks for no pause, pauses double, each shortened at random. Those at a
    persistent request do not end before a success or a refusal of the request itself. *host* is the server's name in
    warnings.
    """

    def __init__(
        self, request: Request, patience: float, *, host: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._request = request
        self._patience = patience
        self._host = host
        self._clock = clock
        self._end = clock() + (math.inf if request.persistent else patience)
        self._pause = _FIRST_PAUSE
        self._warned_at = -math.inf

    def limit(self, timeout: float) -> float:
        """Return how many seconds the next attempt may take: *timeout*, or what is left of patience."""
        return max(min(timeout, self._end - self._clock()), _LEAST_TIMEOUT)

    def after_status(self, status: int, retry_after: str | None) -> float | None:
        """Return how many seconds to wait before the next attempt; None if the answer is final.

        Raises:
            Unavailable: Patience ends before.
        """
        if self._request.persistent:
            is_final = 200 <= status < 300 or (400 <= status < 500 and status not in _PASSING)
        else:
            is_final = status not in _AGAIN or not (self._request.repeatable or status in _CERTAIN)
        if is_final:
            return None
        return self._next(_seconds(retry_after), f"the server answered {status}")

    def after_error(self, error: Exception, *, sent: bool) -> float:
        """Return how many seconds to wait before the next attempt; *sent* says whether the server may have got it.

        Raises:
            Unavailable: Patience ends before, or the request must not be repeated.
        """
        told = f"{type(error).__name__}: {error}".rstrip(": ")
        if sent and not self._request.repeatable:
            raise Unavailable(f"{told}; the request may have been carried out") from error
        return self._next(None, told, error)

    def after_unreadable(self, error: Unreadable) -> float:
        """Return how many seconds to wait before the next attempt, after an answer that says nothing.

        Raises:
            Unreadable: The request is not persistent: the answer is final.
        """
        if not self._request.persistent:
            raise error
        return self._next(None, str(error))

    def after_end(self) -> float:
        """Return how many seconds to wait before the next attempt, after an answer that was to go on has ended.

        Raises:
            Unavailable: Patience ends before.
        """
        return self._next(None, "the connection ended")

    def _next(self, wanted: float | None, told: str, error: Exception | None = None) -> float:
        if wanted is None:
            wanted = self._pause * random.uniform(0.5, 1)  # noqa: S311  (no secret)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        if self._request.persistent:
            self._warn(told)
            return min(wanted, _WARNING_SECONDS)
        if wanted >= self._end - self._clock():
            raise Unavailable(f"gave up after {self._patience:g} s: {told}") from error
        return wanted

    def _warn(self, told: str) -> None:
        now = self._clock()
        if now - self._warned_at >= _WARNING_SECONDS:
            self._warned_at = now
            log.warning("%s%s: no answer, trying again: %s", self._host, self._request.path, told)


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a header `Retry-After` (RFC 9110, 10.2.3); None if it says none, or no time to come."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:10]), 1e9) or None
    try:
        wanted = parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return wanted if wanted > 0 else None
