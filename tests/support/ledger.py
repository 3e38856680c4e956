"""The reconciler: what was thrown against what was recorded and delivered, id by id.

It decides who must get what by its own small table, not by the product's matcher:

    subscriber    gets
    ----------    ------------------------------------------------------------------------------
    plain         broadcast, untenanted
    of-a          broadcast, tenant (a)
    of-b          broadcast
    waiting       broadcast, untenanted, execution (e)
    pattern       broadcast, untenanted, cancelled
    elsewhere     cancelled (another name)
    never         nothing (a third name)
    once          one signal, a broadcast or an untenanted one
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.load import KINDS, Load
from tests.support.product import Client
from tests.support.receiver import Answer, Receiver

_SPEC: dict[str, tuple[dict[str, object], set[str]]] = {
    "plain": ({"name": "placed"}, {"broadcast", "untenanted"}),
    "of-a": ({"name": "placed", "tenantId": "a"}, {"broadcast", "tenant"}),
    "of-b": ({"name": "placed", "tenantId": "b"}, {"broadcast"}),
    "waiting": ({"name": "placed", "executionId": "e"}, {"broadcast", "untenanted", "execution"}),
    "pattern": ({"name": "#"}, {"broadcast", "untenanted", "cancelled"}),
    "elsewhere": ({"name": "cancelled"}, {"cancelled"}),
    "never": ({"name": "returned"}, set()),
    "once": ({"name": "placed", "once": True}, {"broadcast", "untenanted"}),
}

SLOWEST_REFUSAL = 6.5
"""Seconds: the product's deadline of 5, and what a busy machine adds."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One subscription of the audience.

    Args:
        id: The subscription's id.
        path: Where the receiver gets its webhooks.
        kinds: The kinds of throws that it must get, and no others.
        refusals: How many requests to *path* are refused before the first is taken.
    """

    id: int
    path: str
    kinds: frozenset[str]
    refusals: int


async def subscribe(client: Client, receiver: Receiver, prefix: str, *, refusals: int = 0) -> dict[str, Subscriber]:
    """Create the audience for signals whose names begin with *prefix*; each refuses its first *refusals* webhooks.

    `once` refuses none: it gets but one signal.
    """
    audience = {}
    for name, (spec, kinds) in _SPEC.items():
        path, refused = f"/{prefix}/{name}", 0 if name == "once" else refusals
        document = spec | {
            "name": f"{prefix}.{spec['name']}",
            "target": {"kind": "webhook", "url": receiver.answer(path, *[Answer(status=500)] * refused, Answer())},
            "retry": {"schedule": [0.5] * 40},
        }
        created = await client.post("/v1/subscriptions", document)
        audience[name] = Subscriber(created["id"], path, frozenset(kinds), refused)
    return audience


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What the comparison came to; *violations* are sentences, and there must be none."""

    thrown: int
    accepted: int
    refused: int
    unanswered: int
    recorded: int
    owed: int
    requests: int
    repeats: int
    violations: Sequence[str]

    def __str__(self) -> str:
        return (
            f"{self.thrown} thrown: {self.accepted} accepted, {self.refused} refused, {self.unanswered} unanswered;"
            f" {self.recorded} recorded; {self.owed} deliveries owed, {self.requests} webhooks taken,"
            f" {self.repeats} of them repeats; {len(self.violations)} violations"
        )


async def recorded_signals(client: Client, prefix: str) -> dict[int, dict[str, Any]]:
    """Return every recorded signal whose name begins with *prefix*, by id."""
    signals = {}
    for name in {str(kind["name"]) for kind in KINDS.values()}:
        after = "0"
        while after is not None:
            page = await client.get(f"/v1/signals?name={prefix}.{name}&limit=1000&afterId={after}")
            signals |= {item["id"]: item for item in page["items"]}
            after = page["next"]
    return signals


async def settled(client: Client, load: Load) -> bool:
    """Return whether everything that was accepted is recorded, and nothing is waiting or on its way."""
    ledger = await client.get("/v1/ledger")
    waiting = ledger["awaitingRecord"] + ledger["deliveries"]["pending"] + ledger["deliveries"]["parked"]
    return waiting == 0 and load.accepted.keys() <= (await recorded_signals(client, load.prefix)).keys()


async def reconcile(
    client: Client, load: Load, audience: Mapping[str, Subscriber], receiver: Receiver, *, ready: float
) -> Reconciliation:
    """Compare what *load* threw with what is recorded and what *receiver* took for *audience*, once it is `settled`.

    *ready*: since when (monotonic seconds) every throw must be accepted.
    """
    signals = await recorded_signals(client, load.prefix)
    comparison = _Comparison(load, audience, receiver, signals)
    comparison.check_answers(ready)
    comparison.check_order()
    comparison.check_record()
    comparison.check_deliveries()
    for name, subscriber in audience.items():
        comparison.check_ledger(name, await client.get(f"/v1/ledger?subscriptionId={subscriber.id}"))
    comparison.check_ledger("everybody", await client.get("/v1/ledger"))
    taken = sum(comparison.taken.values())
    return Reconciliation(
        thrown=len(load.throws),
        accepted=len(load.accepted),
        refused=sum(throw.status is not None and not throw.accepted for throw in load.throws),
        unanswered=sum(throw.status is None for throw in load.throws),
        recorded=len(signals),
        owed=len(comparison.owed),
        requests=taken,
        repeats=taken - len(comparison.taken),
        violations=comparison.violations,
    )


@dataclass
class _Comparison:
    load: Load
    audience: Mapping[str, Subscriber]
    receiver: Receiver
    signals: Mapping[int, Mapping[str, Any]]
    violations: list[str] = field(default_factory=list)
    owed: set[tuple[int, str]] = field(default_factory=set)
    taken: Counter[tuple[int, str]] = field(default_factory=Counter)

    def check_answers(self, ready: float) -> None:
        """Every answer is a 202, or a 503 in time that says when to come again; a 202 since *ready*."""
        for throw in self.load.throws:
            if throw.begun > ready and not throw.accepted:
                self._violated(f"throw {throw.number} was answered {throw.status} when all was ready again")
            refused_well = throw.status == 503 and throw.retry_after is not None
            if throw.status not in {None, 202} and not refused_well:
                self._violated(f"throw {throw.number} was answered {throw.status}, Retry-After {throw.retry_after}")
            if throw.status is not None and (seconds := throw.ended - throw.begun) > SLOWEST_REFUSAL:
                self._violated(f"throw {throw.number} was answered {throw.status} after {seconds:.1f} s only")

    def check_order(self) -> None:
        """A throw begun after another one was answered has the higher id, over all gateways."""
        accepted = self.load.accepted.values()
        ended = sorted(accepted, key=lambda throw: throw.ended)
        highest = position = 0
        for throw in sorted(accepted, key=lambda throw: throw.begun):
            while ended[position].ended < throw.begun:
                highest = max(highest, ended[position].id or 0)
                position += 1
            if (throw.id or 0) <= highest:
                self._violated(f"signal {throw.id} was thrown after signal {highest} had been answered")

    def check_record(self) -> None:
        """What was accepted is recorded under its id, and nothing is recorded twice, or was never thrown."""
        throws = {throw.number: throw for throw in self.load.throws}
        accepted = self.load.accepted
        for lost in accepted.keys() - self.signals.keys():
            self._violated(f"signal {lost} was accepted and is not recorded")
        numbers = Counter(signal["payload"]["number"] for signal in self.signals.values())
        for number, times in numbers.items():
            if times > 1 or number not in throws:
                self._violated(f"throw {number} is recorded {times} times")
        for signal_id, signal in self.signals.items():
            number = signal["payload"]["number"]
            if signal_id in accepted and accepted[signal_id].number != number:
                self._violated(f"signal {signal_id} is recorded with the payload of throw {number}")

    def check_deliveries(self) -> None:
        """Every subscription took what it must get, and nothing else; `once` took one signal."""
        kinds = {throw.number: throw.kind for throw in self.load.throws}
        for name, subscriber in self.audience.items():
            matching = {i for i, s in self.signals.items() if kinds.get(s["payload"]["number"]) in subscriber.kinds}
            taken = self._taken(name, subscriber)
            self.taken += Counter({(signal_id, name): times for signal_id, times in taken.items()})
            for stray in taken.keys() - matching:
                self._violated(f"{name} got signal {stray}, which is not for it")
            if name == "once":
                self.owed |= {(signal_id, name) for signal_id in list(taken)[:1]}
                if matching and len(taken) != 1:
                    self._violated(f"once got {len(taken)} signals: {sorted(taken)}")
                continue
            self.owed |= {(signal_id, name) for signal_id in matching}
            for missed in sorted(matching - taken.keys()):
                self._violated(f"{name} did not get signal {missed}")

    def check_ledger(self, whose: str, ledger: Mapping[str, Any]) -> None:
        """The books balance, and agree with what we counted."""
        states = ledger["deliveries"]
        if ledger["unaccounted"] or ledger["matched"] != sum(states.values()):
            self._violated(f"the books of {whose} do not balance: {ledger}")
        if ledger["awaitingRecord"] or states["pending"] or states["parked"] or states["dead"]:
            self._violated(f"the books of {whose} are not settled: {ledger}")
        owed = sum(name == whose for _, name in self.owed)
        if whose in self.audience and states["delivered"] != owed:
            self._violated(f"the books of {whose} say {states['delivered']} were delivered; {owed} were owed")

    def _taken(self, name: str, subscriber: Subscriber) -> Counter[int]:
        """Return how often each signal was taken by *subscriber*."""
        taken: Counter[int] = Counter()
        requests = [request for request in self.receiver.requests if request.path == subscriber.path]
        for request in requests[subscriber.refusals :]:
            document = json.loads(request.body)
            signal_id, delivery_id = document["id"], f"{document['id']}-{subscriber.id}"
            if {document["deliveryId"], request.headers["webhook-id"]} != {delivery_id}:
                self._violated(f"{name} got signal {signal_id} as delivery {document['deliveryId']}")
            if document["payload"] != self.signals.get(signal_id, {}).get("payload"):
                self._violated(f"{name} got signal {signal_id} with another payload than is recorded")
            taken[signal_id] += 1
        return taken

    def _violated(self, sentence: str) -> None:
        self.violations.append(sentence)
