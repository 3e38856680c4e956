"""Reporting: the server is told how calls ended, those of many calls in one request."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple, cast

from .async_client import AsyncClient
from .calls import Outcome, Result
from .requests import Request, post

_GATHER_SECONDS = 0.005
"""How long a result waits for those of other calls."""
_MOST = 100
"""The most results that wait."""
_RESULTS = {"results": list}
_MOST_RETRY_AFTER = timedelta(hours=24)

log = logging.getLogger("signal_broker_client")


class Attempt(NamedTuple):
    """An attempt that a lease stands for: what logs call it, and the lease's token."""

    told: str
    lease_token: str


class _End(NamedTuple):
    """How an attempt ended."""

    outcome: Outcome
    error: str | None
    retry_after: timedelta | None


@dataclass(slots=True)
class _Batch:
    """Attempts that ended in the same way, and whether the server has answered that."""

    attempts: list[Attempt] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class Reports:
    """Reports the results of calls.

    A result waits a few milliseconds for others, unless no other call is under way. What is the same of several calls
    goes into one request, which is sent even if those who wait for it are cancelled.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._gathered: dict[_End, _Batch] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._unanswered = 0
        self.expected = 0
        """How many calls are under way."""

    def expect(self) -> None:
        """Note that a call begins."""
        self.expected += 1

    async def report(self, attempt: Attempt, result: Result) -> None:
        """Report the result of a call, and return once the server has answered; a refusal is logged."""
        self.expected -= 1
        self._unanswered += 1
        end = _End(result.outcome, result.error, result.retry_after)
        batch = self._gathered.setdefault(end, _Batch())
        batch.attempts.append(attempt)
        if not self.expected or sum(len(one.attempts) for one in self._gathered.values()) >= _MOST:
            self._send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._send)
        await batch.answered.wait()

    async def end(self, seconds: float) -> None:
        """Send what waits, and give the server *seconds* to answer."""
        self._send()
        if self._requests:
            _, late = await asyncio.wait(self._requests, timeout=seconds)
            for request in late:
                request.cancel()
        if self._unanswered:
            log.warning("%d results were not taken in time; the calls are repeated", self._unanswered)

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered, self._gathered = self._gathered, {}
        for end, batch in gathered.items():
            request = asyncio.create_task(self._tell(end, batch))
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)

    async def _tell(self, end: _End, batch: _Batch) -> None:
        tokens = [attempt.lease_token for attempt in batch.attempts]
        errors: dict[str, str | None]
        try:
            answer = cast(dict[str, list[dict[str, Any]]], await self._client.send(_request(end, tokens)))
            errors = {one["leaseToken"]: one["error"] for one in answer["results"]}
        except Exception as failure:  # noqa: BLE001  (whatever it is, those who wait go on)
            errors = dict.fromkeys(tokens, str(failure))
        for attempt in batch.attempts:
            error = errors.get(attempt.lease_token, "the answer does not say")
            if error is not None:
                log.warning("%s: the result was not taken: %s", attempt.told, error)
        self._unanswered -= len(batch.attempts)
        batch.answered.set()


def _request(end: _End, tokens: list[str]) -> Request:
    """Return the request that ends leases."""
    if end.outcome is Outcome.SUCCEEDED:
        return post("/v1/leases/ack", {"leaseTokens": tokens}, members=_RESULTS)
    failed: dict[str, object] = {"leaseTokens": tokens, "error": end.error or end.outcome.value}
    if end.outcome is Outcome.GIVEN_UP:
        failed["giveUp"] = True
    elif end.retry_after is not None:
        failed["retryAfterSeconds"] = min(end.retry_after, _MOST_RETRY_AFTER).total_seconds()
    elif end.outcome is Outcome.TIMED_OUT:
        failed["outcome"] = "timed_out"
    return post("/v1/leases/fail", failed, members=_RESULTS)
