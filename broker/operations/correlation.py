"""Correlation: a message is for one of the subscriptions that wait, or for all, and is accepted only if there are any.

found? --no--> Uncorrelated        (nothing happened), or numbered and buffered if it has a time to live
  |
numbered, recorded, consumed       (one transaction; if another one was first, found again)
  |
published to the record queue      (a recorder publishes the attempt; if this fails, the scheduler does)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from broker.access import Principal
from broker.errors import StoreUnavailable
from broker.operations.intake import Accepted, Intake
from broker.operations.recipients import reaches_first
from broker.signals import Scope, Signal, Throw
from broker.store.postgres.database import Session
from broker.store.signals.buffering import BufferStore, UniqueId, claim
from broker.store.signals.correlating import Correlatable, CorrelationStore, Named, Receiver
from broker.store.signals.signals import IdempotencyKey
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import Subscription, Waiting, belonging_to_execution

MOST = 1000
"""How many subscriptions that have what a message names are looked at."""
TRIES = 50
"""How often a message is correlated again because others changed or consumed what was found."""


class Uncorrelated(Exception):
    """Raised when a message cannot be correlated: not exactly one subscription waits for it.

    Args:
        count: How many do; more than `MOST` is any number of them.
        in_execution: Whether they wait in executions.
    """

    def __init__(self, count: int, *, in_execution: bool) -> None:
        super().__init__(f"{count} subscriptions wait for the message")
        self.count = count
        self.in_execution = in_execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that is to be correlated.

    Args:
        throw: The throw that it is: a broadcast, or one to a tenant or to those without one.
        named: What it names of an execution that waits. If none does, it is for a subscription outside of executions.
        everywhere: Whether it is for all subscriptions, within executions and outside.
        first: Whether it is for the one that has waited longest, if there are several.
        optional: Whether it is accepted if nothing waits for it: it is recorded, and delivered to none.
        time_to_live: For how long it is buffered if nothing waits for it; None: it is not.
        unique: Its id, which no other one has meanwhile.
    """

    throw: Throw
    named: Named
    everywhere: bool = False
    first: bool = False
    optional: bool = False
    time_to_live: timedelta | None = None
    unique: UniqueId | None = None


@dataclass(frozen=True, slots=True)
class Correlated:
    """The signal that a message became, or will become, and what it was correlated with."""

    accepted: Accepted
    receivers: Sequence[Receiver]


class Correlator:
    """Correlates messages.

    Args:
        intake: Accepts them.
        subscriptions: Knows whose an execution is.
        correlations: Finds what waits.
        buffer: Keeps messages that nothing waits for.
        rescue_after: How long a delivery waits for its message to a deliverer.
    """

    def __init__(
        self,
        intake: Intake,
        subscriptions: SubscriptionStore,
        correlations: CorrelationStore,
        buffer: BufferStore,
        *,
        rescue_after: timedelta,
    ) -> None:
        self._intake = intake
        self._subscriptions = subscriptions
        self._correlations = correlations
        self._buffer = buffer
        self._rescue_after = rescue_after

    async def correlate(self, message: Message, *, by: Principal, key: IdempotencyKey | None = None) -> Correlated:
        """Correlate *message*; return once it is recorded, owed to what it was correlated with, or buffered.

        Raises:
            Uncorrelated: It cannot be. Nothing happened, and the same *key* may be used again.
            IdTaken, BufferFull: As for `BufferStore.keep`, and likewise.
            IdempotencyConflict, InvalidField, QuotaExceeded, StoreUnavailable: As for `Intake.accept`.
        """
        repeated = key is not None and await self._correlations.was_accepted(key)
        found = None if repeated else await self._find(message, by)

        async def record(signal: Signal) -> Signal | None:
            return await self._record(message, signal, found, by)

        accepted = await self._intake.accept_message(message.throw, record, tenants=by.tenants, key=key)
        receivers = await self._correlations.owed(accepted.signal.id)
        return Correlated(accepted, receivers or ())

    async def _record(
        self, message: Message, signal: Signal, found: Sequence[Correlatable] | None, by: Principal
    ) -> Signal | None:
        """Return *signal* as it was recorded; None if it was buffered."""
        first = None if message.unique is None else partial(_claim, unique=message.unique, signal_id=signal.id)
        for _ in range(TRIES):
            if found is None:
                if await self._correlations.owed(signal.id) is not None:  # recorded under the same key
                    return signal
                if await self._buffer.holds(signal.id):
                    return None
                found = await self._find(message, by)
            if not found and message.time_to_live is not None:
                await self._buffer.keep(signal, message.time_to_live, message.unique)
                return None
            to_one = found and not message.everywhere
            addressed = address(signal, found[0].subscription) if to_one else signal
            if await self._correlations.record(addressed, found, rescue_after=self._rescue_after, first=first):
                return addressed
            found = None
        raise StoreUnavailable("what a message could be correlated with changed all the time")

    async def _find(self, message: Message, by: Principal) -> list[Correlatable]:
        return await find_receivers(message, self._subscriptions, self._correlations, by=by)


async def find_receivers(
    message: Message, subscriptions: SubscriptionStore, correlations: CorrelationStore, *, by: Principal
) -> list[Correlatable]:
    """Return what *message* is to be correlated with: one subscription, or all of them.

    Raises:
        Uncorrelated: There is none, unless it is optional or can be buffered, or more than that.
    """
    found, complete = await _find_in_executions(message, subscriptions, correlations, by)
    in_execution = bool(found) or not complete
    if message.everywhere or not in_execution:
        outside, all_outside = await correlations.find(message.throw, Named(in_execution=False), most=MOST)
        found, complete = [*found, *outside], complete and all_outside
    if message.first:
        found = found[:1]
    elif len(found) > MOST or not complete:
        raise Uncorrelated(MOST + 1, in_execution=in_execution)
    may_be_none = message.optional or message.time_to_live is not None
    if (not found and not may_be_none) or (len(found) > 1 and not message.everywhere):
        raise Uncorrelated(len(found), in_execution=in_execution)
    return found


async def _find_in_executions(
    message: Message, subscriptions: SubscriptionStore, correlations: CorrelationStore, by: Principal
) -> tuple[list[Correlatable], bool]:
    throw, named = message.throw, message.named
    if named.execution_id is not None:
        waiting = await subscriptions.waiting_at(named.execution_id)
        if not waiting or not reaches_first(by, waiting):
            return [], True
        throw = replace(throw, scope=Scope.EXECUTION, execution_id=named.execution_id, tenant_id=None)
        throw = belonging_to_execution(throw, waiting)
    return await correlations.find(throw, named, most=MOST)


async def _claim(session: Session, unique: UniqueId, signal_id: int) -> bool:
    await claim(session, unique, signal_id)
    return True


def address(signal: Signal, receiver: Subscription) -> Signal:
    """Return *signal* as one to *receiver*'s execution, or else to its tenant, or to those without one."""
    throw, spec = signal.throw, receiver.spec
    if spec.execution_id is not None:
        throw = replace(throw, scope=Scope.EXECUTION, execution_id=spec.execution_id, tenant_id=None)
        throw = belonging_to_execution(throw, [Waiting(spec.name, receiver.tenants)])
    elif spec.tenant_id is not None:
        throw = replace(throw, scope=Scope.TENANT, tenant_id=spec.tenant_id, audience=None)
    else:
        throw = replace(throw, scope=Scope.UNTENANTED, tenant_id=None)
    return replace(signal, throw=throw)
