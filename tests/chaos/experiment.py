"""The experiment that all chaos is: faults under load, and the books afterwards."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise

import aiohttp

from tests.chaos.faults.fault import Fault
from tests.chaos.stack import Stack
from tests.support.audience import SCOPES, subscribe
from tests.support.books import Reconciliation
from tests.support.eventually import eventually
from tests.support.ledger import nothing_waits, reconcile, settled
from tests.support.load import Load, Throw, load
from tests.support.product import Client, client_of

CALM_LOOKS, CALM_SECONDS = 3, 0.3
"""How often all must look settled, and how far apart: a recorder may hold what was refused, and still record it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of faults under load.

    Args:
        faults: Their names.
        lasted: Seconds from the beginning of the first to the end of the last.
        outage: The longest time (seconds) in which no throw was accepted.
        ready: Seconds from their end until every process was ready; None: they were not in time.
        settled: Seconds from the end of the load until all was delivered; None: it was not in time.
        books: The comparison of the books.
        violations: What must not be.
    """

    faults: Sequence[str]
    lasted: float
    outage: float
    ready: float | None
    settled: float | None
    books: Reconciliation
    violations: Sequence[str]

    def __str__(self) -> str:
        ready = "not ready in time" if self.ready is None else f"ready after {self.ready:.1f} s"
        settled = "not settled in time" if self.settled is None else f"settled {self.settled:.1f} s later"
        return (
            f"{' | '.join(self.faults)} ({self.lasted:.1f} s): {self.books}; {self.outage:.1f} s without accepted"
            f" throws, {ready}, {settled}; {len(self.violations)} violations"
        )


async def survive(
    stack: Stack,
    *faults: Fault,
    rate: float = 40,
    after: float = 0.5,
    throws: int = 0,
    audience: Collection[str] = SCOPES,
    refusals: int = 0,
    within: float = 120,
    ready_within: float = 60,
) -> Outcome:
    """Inflict *faults* on *stack* under load, one after the other, and compare the books once all is settled.

    Args:
        stack: What must survive.
        faults: What befalls it.
        rate: Throws per second.
        after: Seconds in which every throw must be accepted once all is ready again.
        throws: How many throws there must be at least.
        audience: The subscribers.
        refusals: How many webhooks each of them refuses at first.
        within: Seconds in which all must be settled, and that it is waited for readiness.
        ready_within: Seconds after the faults in which all must be ready by itself.
    """
    stack.violations = []
    prefix = f"chaos-{uuid.uuid4().hex[:8]}"
    rng = random.Random(stack.rng.random())  # the load's own, so that what befalls whom does not depend on it
    vhost = stack.vhost if "queue" in audience else ""
    async with client_of(stack.url) as client:
        before = await client.get("/v1/ledger")
        listeners = await subscribe(client, stack.receiver, prefix, audience, refusals=refusals, vhost=vhost)
        running = load(prefix, stack.gateways, rate=rate, rng=rng)
        async with running as thrown, _balanced(stack, client, before):
            begun = time.monotonic()
            for fault in faults:
                await asyncio.sleep(stack.rng.uniform(0.1, 0.8))
                await _befall(stack, fault)
            over = time.monotonic()
            ready = await _ready_again(stack, ready_within, within)
            await asyncio.sleep(after)
            await eventually(lambda: len(thrown.throws) >= throws, within=60 + throws / rate)
        end = time.monotonic()
        settled_after = await _settled_again(stack, client, thrown, within)
        books = await reconcile(
            client,
            thrown,
            listeners,
            stack.receiver,
            before=before,
            ready=over + ready if ready is not None else end,
            slowest=max(fault.slowest for fault in faults),
        )
        await listeners.leave(client)
        stack.receiver.requests.clear()
    return Outcome(
        faults=[fault.name for fault in faults],
        lasted=over - begun,
        outage=longest_outage(thrown.throws, begun, end),
        ready=ready,
        settled=settled_after,
        books=books,
        violations=[*stack.violations, *books.violations],
    )


async def _befall(stack: Stack, fault: Fault) -> None:
    """Inflict *fault*; that it could not be inflicted or taken away is a violation, too."""
    try:
        await fault.befall(stack)
    except Exception as error:  # noqa: BLE001  (of any tool that it uses)
        stack.violations.append(f"{fault.name} failed: {error!r}")


async def _ready_again(stack: Stack, ready_within: float, within: float) -> float | None:
    """Return how many seconds it took until every process was ready; if it took too long, start them over."""
    begun = time.monotonic()
    try:
        await eventually(stack.ready, within=max(ready_within, within))
    except AssertionError:
        stack.violations.append(f"not ready within {max(ready_within, within):g} s")
        await stack.start_over()
        return None
    seconds = time.monotonic() - begun
    if seconds > ready_within:
        stack.violations.append(f"ready after {seconds:.1f} s only")
    return seconds


async def _settled_again(stack: Stack, client: Client, running: Load, within: float) -> float | None:
    """Return how many seconds it took until all was settled; if it took too long, start every process over."""
    begun = time.monotonic()
    try:
        for _ in range(CALM_LOOKS):
            await eventually(lambda: nothing_waits(client), within=within, every=CALM_SECONDS)
            await asyncio.sleep(CALM_SECONDS)
        await eventually(lambda: settled(client, running), within=within, every=CALM_SECONDS)
    except AssertionError:
        stack.violations.append(f"not settled within {within:g} s")
        await stack.start_over()
        return None
    return time.monotonic() - begun


@asynccontextmanager
async def _balanced(stack: Stack, client: Client, before: Mapping[str, int]) -> AsyncIterator[None]:
    """Ask for the books again and again; they must balance whenever they are answered."""

    async def watch() -> None:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                timeout = aiohttp.ClientTimeout(total=15)
                status, _, ledger = await client.request("GET", "/v1/ledger", timeout=timeout)
                if status not in {200, 503}:
                    stack.violations.append(f"the ledger was answered {status}: {ledger}")
                elif status == 200 and ledger["unaccounted"] != before["unaccounted"]:
                    stack.violations.append(f"the books do not balance: {ledger}")
            await asyncio.sleep(0.25)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def longest_outage(throws: Sequence[Throw], begun: float, end: float) -> float:
    """Return the longest time (seconds) between *begun* and *end* in which no throw was accepted."""
    moments = sorted(throw.ended for throw in throws if throw.accepted and begun <= throw.ended <= end)
    return max(later - earlier for earlier, later in pairwise([begun, *moments, end]))
