"""The books of a load, kept by its callers and its receivers, and their comparison, id by id."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tests.support.audience import TAPPED, Subscriber
from tests.support.load import Throw

SLOWEST_ANSWER = 8.0
"""Seconds: the product's deadline of 5, and what a busy machine adds."""


class Timed(Protocol):
    """Something that began and was answered at certain moments."""

    @property
    def begun(self) -> float:
        """When it was sent (monotonic seconds)."""

    @property
    def ended(self) -> float:
        """When it was answered."""


T = TypeVar("T", bound=Timed)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a subscriber or a tap took, in the order of arrival.

    Args:
        signal_id: The signal's id.
        payload: The signal's payload.
        delivery_id: The delivery's id, wherever the receiver found it; none at a tap.
        taken: Whether the receiver said so; else it refused, or left it open.
    """

    signal_id: int
    payload: Any
    delivery_id: frozenset[str] = frozenset()
    taken: bool = True


@dataclass(frozen=True, kw_only=True)
class Books:
    """What everybody noted, once all is settled.

    Args:
        throws: What the callers threw, and were answered.
        signals: The payloads of what is recorded, by id.
        subscribers: Who must get what.
        receipts: What each of them got.
        tap: What a tap got; None: there was none.
        ledgers: The product's own books: by subscriber, and of ``everybody``.
        before: The books of everybody before the load.
        ready: Since when (monotonic seconds) every throw must be accepted.
        slowest: How long (seconds) an answer may take.
    """

    throws: Sequence[Throw]
    signals: Mapping[int, Any]
    subscribers: Mapping[str, Subscriber]
    receipts: Mapping[str, Sequence[Receipt]]
    tap: Sequence[Receipt] | None = None
    ledgers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    ready: float
    slowest: float = SLOWEST_ANSWER

    @property
    def accepted(self) -> dict[int, Throw]:
        """The accepted throws by their signals' ids."""
        return {throw.id: throw for throw in self.throws if throw.id is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What the comparison came to; *violations* are sentences, and there must be none.

    Args:
        thrown: How many throws there were.
        accepted: How many were answered with a 2xx.
        failed: How many were not, by status; or ``unanswered``.
        recorded: How many signals are recorded.
        lost: How many were accepted and are not.
        owed: How many deliveries there must be.
        repeats: How many more were taken than there must be, by ``webhook``, ``queue`` and ``tap``.
        violations: What must not be.
    """

    thrown: int
    accepted: int
    failed: Mapping[str, int]
    recorded: int
    lost: int
    owed: int
    repeats: Mapping[str, int]
    violations: Sequence[str]

    @property
    def unanswered(self) -> int:
        """How many throws got no answer."""
        return self.failed.get("unanswered", 0)

    @property
    def refused(self) -> int:
        """How many throws were answered, but not with a 2xx."""
        return sum(self.failed.values()) - self.unanswered

    def __str__(self) -> str:
        failed = ", ".join(f"{times} x {status}" for status, times in sorted(self.failed.items())) or "none"
        repeats = ", ".join(f"{times} of {kind}" for kind, times in sorted(self.repeats.items()) if times) or "none"
        return (
            f"{self.thrown} thrown, {self.accepted} accepted (failed: {failed}), {self.recorded} recorded,"
            f" {self.lost} lost; {self.owed} deliveries owed (repeats: {repeats})"
        )


def compare(books: Books) -> Reconciliation:
    """Compare *books* with each other."""
    throws = {throw.number: throw for throw in books.throws}
    owed = {name: _owed(books, throws, name) for name in books.subscribers}
    violations = itertools.chain(
        _check_answers(books),
        _check_ids(books),
        _check_record(books, throws),
        *(_check_receipts(books, name, owed[name]) for name in books.subscribers),
        *(_check_order(books, name) for name, subscriber in books.subscribers.items() if subscriber.ordered),
        _check_tap(books, throws),
        *(_check_ledger(books, name, owed) for name in books.ledgers),
    )
    failed = Counter(str(throw.status or "unanswered") for throw in books.throws if not throw.accepted)
    return Reconciliation(
        thrown=len(books.throws),
        accepted=len(books.accepted),
        failed=failed,
        recorded=len(books.signals),
        lost=len(books.accepted.keys() - books.signals.keys()),
        owed=sum(map(len, owed.values())),
        repeats=_repeats(books),
        violations=list(violations),
    )


def _owed(books: Books, throws: Mapping[int, Throw], name: str) -> set[int]:
    """Return the ids of the signals that a subscriber must get, as far as they are recorded."""
    subscriber = books.subscribers[name]
    wanted = (throws.get(payload["number"]) for payload in books.signals.values())
    matching = {
        signal_id
        for signal_id, throw in zip(books.signals, wanted, strict=True)
        if throw is not None and subscriber.wants(throw.kind, throw.amount)
    }
    if subscriber.once and matching:
        taken = [receipt.signal_id for receipt in books.receipts[name] if receipt.signal_id in matching]
        return set(taken[:1]) or {min(matching)}
    return matching


def _check_answers(books: Books) -> Iterator[str]:
    """Every answer is a 2xx, or a 503 in time that says when to come again; a 2xx once all was ready."""
    for throw in books.throws:
        if throw.begun > books.ready and not throw.accepted:
            yield f"throw {throw.number} was answered {throw.status} when all was ready again"
        refused_well = throw.status == 503 and throw.retry_after is not None
        if throw.status is not None and not throw.accepted and not refused_well:
            yield f"throw {throw.number} was answered {throw.status}, Retry-After {throw.retry_after}"
        if throw.status is not None and (seconds := throw.ended - throw.begun) > books.slowest:
            yield f"throw {throw.number} was answered {throw.status} after {seconds:.1f} s only"


def _check_ids(books: Books) -> Iterator[str]:
    """Each id was given once; a throw begun after another one was answered has the higher one, over all gateways."""
    accepted = [throw for throw in books.throws if throw.accepted]
    for signal_id, times in Counter(throw.id for throw in accepted).items():
        if times > 1:
            yield f"signal {signal_id} was answered to {times} throws"
    for earlier, later in overtaken(accepted, lambda throw: throw.id or 0):
        yield f"signal {later.id} was thrown after signal {earlier.id} had been answered"


def overtaken(throws: Sequence[T], place: Callable[[T], int]) -> Iterator[tuple[T, T]]:
    """Return each throw that began when another one had been answered that has a higher place, with that one."""
    ended = sorted(throws, key=lambda throw: throw.ended)
    highest: T | None = None
    position = 0
    for throw in sorted(throws, key=lambda throw: throw.begun):
        while ended[position].ended < throw.begun:
            if highest is None or place(ended[position]) > place(highest):
                highest = ended[position]
            position += 1
        if highest is not None and place(throw) < place(highest):
            yield highest, throw


def _check_record(books: Books, throws: Mapping[int, Throw]) -> Iterator[str]:
    """What was accepted is recorded under its id, and nothing is recorded twice, or was never thrown."""
    accepted = books.accepted
    for lost in sorted(accepted.keys() - books.signals.keys()):
        yield f"signal {lost} was accepted and is not recorded"
    for number, times in Counter(payload["number"] for payload in books.signals.values()).items():
        if times > 1 or number not in throws:
            yield f"throw {number} is recorded {times} times"
    for signal_id, payload in books.signals.items():
        if signal_id in accepted and accepted[signal_id].number != payload["number"]:
            yield f"signal {signal_id} is recorded with the payload of throw {payload['number']}"


def _check_receipts(books: Books, name: str, owed: set[int]) -> Iterator[str]:
    """The subscriber took what it must get, and got nothing else."""
    subscriber, receipts = books.subscribers[name], books.receipts[name]
    for receipt in receipts:
        signal_id = receipt.signal_id
        if receipt.delivery_id != {f"{signal_id}-{subscriber.id}"}:
            yield f"{name} got signal {signal_id} as delivery {sorted(receipt.delivery_id)}"
        if signal_id in books.signals and receipt.payload != books.signals[signal_id]:
            yield f"{name} got signal {signal_id} with another payload than is recorded"
    for stray in sorted({receipt.signal_id for receipt in receipts} - owed):
        yield f"{name} got signal {stray}, which is not for it"
    for missed in sorted(owed - {receipt.signal_id for receipt in receipts if receipt.taken}):
        yield f"{name} did not get signal {missed}"


def _check_order(books: Books, name: str) -> Iterator[str]:
    """The signals of each key came to the subscriber, for the first time, in the order of their answers."""
    place: dict[int, int] = {}
    for position, receipt in enumerate(books.receipts[name]):
        place.setdefault(receipt.signal_id, position)
    by_key: dict[str, list[Throw]] = defaultdict(list)
    for throw in books.throws:
        if throw.id in place and throw.key is not None:
            by_key[throw.key].append(throw)
    for throws in by_key.values():
        for earlier, later in overtaken(throws, lambda throw: place[throw.id or 0]):
            yield f"{name} got signal {later.id} before {earlier.id}, which was answered before it was thrown"


def _check_tap(books: Books, throws: Mapping[int, Throw]) -> Iterator[str]:
    """The tap got every accepted broadcast, perhaps some that were refused, and nothing else."""
    if books.tap is None:
        return
    accepted = books.accepted
    for receipt in books.tap:
        throw = throws.get(receipt.payload["number"])
        if throw is None or throw.kind not in TAPPED:
            yield f"the tap got signal {receipt.signal_id}, which is not for it"
        elif throw.accepted and throw.id != receipt.signal_id:
            yield f"the tap got throw {throw.number} as signal {receipt.signal_id}; it was answered {throw.id}"
    tapped = {signal_id for signal_id, throw in accepted.items() if throw.kind in TAPPED}
    for missed in sorted(tapped - {receipt.signal_id for receipt in books.tap}):
        yield f"the tap did not get signal {missed}"


def _check_ledger(books: Books, whose: str, owed: Mapping[str, set[int]]) -> Iterator[str]:
    """The product's books balance, name no loss and no poison, and agree with ours."""
    ledger = books.ledgers[whose]
    states = ledger["deliveries"]
    news = {key: _total(ledger.get(key, 0)) for key in ("unaccounted", "lost", "poison")}
    if whose == "everybody":
        news = {key: count - _total(books.before.get(key, 0)) for key, count in news.items()}
    if any(news.values()) or ledger["matched"] != sum(states.values()):
        yield f"the books of {whose} do not balance: {ledger}"
    if ledger["awaitingRecord"] or states["pending"] or states["parked"]:
        yield f"the books of {whose} are not settled: {ledger}"
    if whose in owed and (states["delivered"], states["dead"]) != (len(owed[whose]), 0):
        yield (
            f"the books of {whose} say {states['delivered']} were delivered, {states['dead']} are dead;"
            f" {len(owed[whose])} were owed"
        )


def _total(count: Any) -> int:
    """Return a count of the ledger's, which may be one for each queue."""
    return sum(map(_total, count.values())) if isinstance(count, Mapping) else int(count or 0)


def _repeats(books: Books) -> dict[str, int]:
    repeats = {"webhook": 0, "queue": 0, "tap": _surplus(books.tap or ())}
    for name, receipts in books.receipts.items():
        repeats["queue" if name == "queue" else "webhook"] += _surplus(receipts)
    return repeats


def _surplus(receipts: Iterable[Receipt]) -> int:
    taken = [receipt.signal_id for receipt in receipts if receipt.taken]
    return len(taken) - len(set(taken))
