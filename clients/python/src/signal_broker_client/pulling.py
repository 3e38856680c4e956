"""Pulling: the deliveries of a handler are leased, the handler is called, and the results are reported."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from .async_client import AsyncClient
from .calls import Function, Outcome, ReceivedSignal
from .calls.texts import one_line
from .errors import Refused
from .reporting import Attempt, Reports
from .requests import encode, post

_WAIT_SECONDS = 20
"""How long a request for leases waits for a delivery."""
_TO_REPORT = timedelta(seconds=15)
"""How much longer than a call a lease is: the result may take that long to be reported."""
_LAST_SECONDS = 5.0
"""How long the last results may take to be reported after the calls have ended."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
"""How long a puller waits where leases bring nothing to call, though they should have waited for it."""
_GONE = {404, 410}
_TRACE = ("traceparent", "tracestate")

log = logging.getLogger("signal_broker_client")


class _Leased(NamedTuple):
    """A delivery that was leased."""

    attempt: Attempt
    signal: ReceivedSignal


class Puller:
    """Leases the deliveries of one subscription and calls one function.

    Any number of them can run side by side, in any number of processes. Lines of the log begin with *name*.
    """

    def __init__(
        self,
        client: AsyncClient,
        subscription_id: int,
        function: Function,
        *,
        name: str,
        timeout: timedelta,
        concurrency: int,
        worker: str,
    ) -> None:
        self._client = client
        self._path = f"/v1/subscriptions/{subscription_id}/lease"
        self._function = function
        self._name = name
        self._timeout = timeout
        self._concurrency = concurrency
        self._worker = worker
        self._reports = Reports(client)
        self._running: set[asyncio.Task[None]] = set()
        self._pause = _FIRST_PAUSE

    async def run(self, stopping: asyncio.Event, *, drain: float) -> None:
        """Call the function until *stopping* is set; calls that run then have *drain* seconds to end.

        Results that are there by then are reported, whatever comes of the calls that are not done.

        Raises:
            Refused: The server refuses to lease.
        """
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stop.done():
                if len(self._running) >= self._concurrency:
                    await asyncio.wait({stop, *self._running}, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await self._lease(stop)
        except Refused as refused:
            if refused.status not in _GONE:
                raise
            log.error("%s: its subscription is gone; the next start makes it again", self._name)  # noqa: TRY400
        finally:
            stop.cancel()
            await self._end(drain)

    async def _lease(self, stop: asyncio.Task[object]) -> None:
        """Lease what can be called now, unless *stop* ends first, and call it."""
        wanted = {
            "max": min(self._concurrency - len(self._running), 100),
            "waitSeconds": _WAIT_SECONDS,
            "leaseSeconds": max((self._timeout + _TO_REPORT).total_seconds(), 1),
            "worker": self._worker,
        }
        request = post(self._path, wanted, persistent=True, wait=_WAIT_SECONDS, members={"deliveries": list})
        asked_at = time.monotonic()
        leasing = asyncio.create_task(self._client.send(request))
        await asyncio.wait({stop, leasing}, return_when=asyncio.FIRST_COMPLETED)
        if not leasing.done():
            leasing.cancel()
            await asyncio.wait({leasing})
        if leasing.cancelled():
            return
        deliveries = cast(dict[str, list[object]], leasing.result())["deliveries"]
        leased = [one for one in map(self._read, deliveries) if one is not None]
        for one in leased:
            self._reports.expect()
            task = asyncio.create_task(self._call(one))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if leased or (not deliveries and time.monotonic() - asked_at >= _WAIT_SECONDS / 2):
            self._pause = _FIRST_PAUSE
            return
        await asyncio.wait({stop}, timeout=self._pause * random.uniform(0.5, 1))  # noqa: S311  (no secret)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _read(self, delivery: object) -> _Leased | None:
        """Return what is to be called for a delivery that was leased; None if it is malformed."""
        try:
            return self._leased(cast(dict[str, Any], delivery))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # It comes again when its lease ends.
            log.error("%s: a delivery is malformed: %s: %s", self._name, type(error).__name__, error)  # noqa: TRY400
            return None

    def _leased(self, delivery: Mapping[str, Any]) -> _Leased:
        id_, attempt = delivery["deliveryId"], delivery["attempt"]
        trace = {name: delivery[name] for name in _TRACE if delivery.get(name) is not None}
        signal = receive(delivery["signal"], delivery_id=id_, attempt=attempt, trace=trace)
        told = f"{self._name}: delivery {id_} of {one_line(signal.name)}, attempt {attempt}"
        return _Leased(Attempt(told, delivery["leaseToken"]), signal)

    async def _call(self, leased: _Leased) -> None:
        result = await self._function.call(leased.signal, timeout=self._timeout)
        if result.outcome is not Outcome.SUCCEEDED:
            level = logging.WARNING if result.exception is None else logging.ERROR
            told = (leased.attempt.told, result.outcome, result.error)
            log.log(level, "%s: %s: %s", *told, exc_info=result.exception)
        await self._reports.report(leased.attempt, result)

    async def _end(self, drain: float) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=drain)
        undone = self._reports.expected
        rest = set(self._running)
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)
        if undone:
            log.warning("%s: %d calls were cancelled; they are repeated when their leases end", self._name, undone)
        await self._reports.end(_LAST_SECONDS)


def worker_name() -> str:
    """Return what the attempts call this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def receive(
    signal: Mapping[str, Any], *, delivery_id: str, attempt: int, trace: Mapping[str, str] | None = None
) -> ReceivedSignal:
    """Return what a handler is told of the document *signal* at that attempt; *trace*: the headers of its trace."""
    trace = trace or {}
    hops = signal["hops"] + 1
    expires_at = signal.get("expiresAt")
    return ReceivedSignal(
        id=signal["id"],
        name=signal["name"],
        scope=signal["scope"],
        tenant_id=signal["tenantId"],
        execution_id=signal["executionId"],
        created_at=datetime.fromisoformat(signal["createdAt"]),
        business_key=signal.get("businessKey"),
        ordering_key=signal.get("orderingKey"),
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
        traceparent=trace.get("traceparent"),
        tracestate=trace.get("tracestate"),
        hops=signal["hops"],
        delivery_id=delivery_id,
        attempt=attempt,
        headers={**trace, "Signal-Broker-Hops": str(hops), "baggage": f"signal-broker-hops={hops}"},
        raw=encode(signal["payload"], allow_nan=True),
        read_variables=lambda: signal["variables"],
    )
