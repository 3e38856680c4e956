"""The recorder: records the signals of the record queue, with a delivery for every matching subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial

import structlog

from broker import metrics, tracing
from broker.messages import Undecodable, claimed_id, decode_signal, read_proof
from broker.metrics import Repeat
from broker.moments import show_moment
from broker.offloading import Offloader
from broker.settings import Settings
from broker.signals import Signal
from broker.store.signals.intake_books import IntakeBooks
from broker.store.signals.signals import SignalStore
from broker.store.signals.suspects import SuspectStore
from broker.streaks import Streak
from broker.topology import DELIVERIES, LANES, RECORD
from broker.transport import Received, Settlement, Transport, check_parts
from workers.consumer import Consumer, check_consumers
from workers.dispatch import dispatch
from workers.headroom import Headroom
from workers.held import reporting_held
from workers.numbers import NumberCheck
from workers.proofs import Proofs
from workers.store_access import StoreAccess
from workers.suspects import Suspects

_BATCH = 500
_BYTES = 4 << 20
"""How many bytes of payloads a batch has at the most. Each is in memory several times while it is recorded."""
_CONCURRENCY = 3
_ASIDE = 7
"""How many batches more may be under way that are owed to many subscriptions: those that come after them pass."""
_MINUTE = 60.0

log = structlog.get_logger()


class Recorder:
    """Records in batches: one transaction, then the due attempts are published, and only then the batch is acked.

    The unacked batch is the outbox: after a crash anywhere the step is repeated, which is harmless.
    """

    name = "recorder"

    def __init__(
        self,
        transport: Transport,
        signals: SignalStore,
        books: IntakeBooks,
        suspects: SuspectStore,
        settings: Settings,
    ) -> None:
        self._transport = transport
        self._signals = signals
        self._numbers = NumberCheck(signals)
        self._books = books
        self._suspects = Suspects(self.handle, suspects)
        self._settings = settings
        self._access = StoreAccess(signals.rehearse_recording)
        self._outcomes = Streak()
        self._noted: dict[int, float] = {}
        self._proofs = Proofs()
        self._offloader = Offloader()
        self._headroom = Headroom(transport, timeout=settings.confirm_timeout)
        self._turns = asyncio.Lock()
        self._consumer = Consumer(
            transport,
            RECORD,
            self._suspects.handle,
            access=self._access,
            outcomes=self._outcomes,
            batch=_BATCH,
            batch_bytes=_BYTES,
            concurrency=_CONCURRENCY,
            aside=_ASIDE,
        )

    async def check(self) -> None:
        """Return if signals can be recorded now, as far as is known.

        Raises:
            SignalBrokerError: They cannot, for this reason.
        """
        await self._access.rehearse()
        self._outcomes.check()
        check_consumers(self._transport, [RECORD])
        check_parts(self._transport, [DELIVERIES, *LANES])

    async def run(self, stopping: asyncio.Event) -> None:
        """Record until *stopping* is set."""
        async with reporting_held(
            self._transport, self._books, set_aside=lambda: self._consumer.set_aside, proof=lambda: self._proofs.last
        ):
            await self._consumer.run(stopping, drain=self._settings.drain_timeout)

    async def handle(self, messages: Sequence[Received]) -> Sequence[Settlement]:
        """Record the signals in *messages*; a message that is no signal is poison.

        Raises:
            NotGivenOut: The database does not know the id of one of them.
        """
        settlements = [Settlement.ACK] * len(messages)
        signals: dict[int, Signal] = {}
        await self._numbers.learn(max(claimed_id(message) or 0 for message in messages))
        for position, message in enumerate(messages):
            try:
                signal = await self._offloader.run(partial(decode_signal, message), size=len(message.body))
                self._numbers.check(signal)
                signals[position] = signal
            except Undecodable as error:
                settlements[position] = _reject(error)
        are_repeats = any(message.redelivered for message in messages)
        with _traced(list(signals.values())):
            for step in _parted(signals):
                taken = await self._record([signals[position] for position in step], are_repeats=are_repeats)
                for position in step:
                    if signals[position].id in taken:
                        settlements[position] = _reject(_taken(signals.pop(position)))
        self._proofs.note(filter(None, map(read_proof, messages)))
        metrics.RECORDED.inc(len(signals))
        now = datetime.now(UTC)
        for signal in signals.values():
            metrics.RECORD_LAG.observe(max(0.0, (now - signal.created_at).total_seconds()))
            log.info("signal.recorded", signal_id=signal.id, name=signal.throw.name, scope=signal.throw.scope.value)
        return settlements

    async def _record(self, signals: Sequence[Signal], *, are_repeats: bool) -> frozenset[int]:
        """Record *signals* and publish their due attempts, in as many steps as that takes.

        What takes more than one step lets others pass: further batches are handled beside it, a step at a time. Return
        the ids that were taken by other signals, so that those of *signals* are not recorded.
        """
        taken = frozenset[int]()
        if signals:
            signals, taken = await self._record_some(signals, are_repeats=are_repeats)
        while signals:
            self._consumer.step_aside()
            async with self._turns:
                signals, more = await self._record_some(signals, are_repeats=are_repeats)
                taken |= more
        return taken

    async def _record_some(
        self, signals: Sequence[Signal], *, are_repeats: bool
    ) -> tuple[Sequence[Signal], frozenset[int]]:
        """Record some of *signals* in one step; return the others, and the ids that were taken."""
        await self._headroom.look()  # usually at nothing
        recorded = await self._signals.record(
            signals,
            rescue_after=self._settings.rescue_after,
            has_room=self._headroom.has_room,
            are_repeats=are_repeats,
        )
        await dispatch(self._transport, recorded.due_attempts, timeout=self._settings.confirm_timeout)
        metrics.MATCHED.inc(len(recorded.due_attempts) + recorded.waiting)
        metrics.REPEATS.labels(Repeat.RECORDED).inc(recorded.repeats)
        if recorded.exceeded:
            self._note_exceeded(recorded.exceeded)
        await self._headroom.look()  # afterwards, so that nobody waits for it
        return recorded.left, recorded.taken

    def _note_exceeded(self, exceeded: Sequence[tuple[int, int]]) -> None:
        """Say which filters exceeded their budgets: one line for each subscription, at most once a minute."""
        metrics.FILTERS_EXCEEDED.inc(len(exceeded))
        now = asyncio.get_running_loop().time()
        self._noted = {one: since for one, since in self._noted.items() if now - since < _MINUTE}
        for signal_id, subscription_id in exceeded:
            if subscription_id not in self._noted:
                self._noted[subscription_id] = now
                log.warning("filter.exceeded", subscription_id=subscription_id, signal_id=signal_id)


def _reject(reason: object) -> Settlement:
    log.warning("message.rejected", queue=RECORD, error=str(reason))
    return Settlement.REJECT


def _taken(signal: Signal) -> str:
    """Return why *signal* cannot be recorded: ids are given out by the store, and another signal has this one."""
    return (
        f"the id {signal.id} belongs to another signal, not to {signal.throw.name!r} of"
        f" {show_moment(signal.created_at)}: does a gateway with another store publish to this virtual host?"
    )


def _parted(signals: Mapping[int, Signal]) -> Sequence[Sequence[int]]:
    """Return the positions of *signals*, apart where signals that are no repeats of each other have the same id."""
    first: dict[int, Signal] = {}
    step, others = list[int](), dict[int, Signal]()
    for position, signal in signals.items():
        if _is_same(first.setdefault(signal.id, signal), signal):
            step.append(position)
        else:
            others[position] = signal
    return [step, *_parted(others)] if others else [step]


def _is_same(first: Signal, second: Signal) -> bool:
    return first is second or (first.throw.name, first.created_at) == (second.throw.name, second.created_at)


def _traced(signals: Sequence[Signal]) -> AbstractContextManager[None]:
    """Return the span of recording *signals*, if there are traces."""
    tracer = tracing.tracer()
    return nullcontext() if tracer is None else tracer.processing(RECORD, [one.throw.trace for one in signals])
