"""Who gets what of a load, by a small table that is not the product's matcher.

    subscriber    gets                                                  as
    ----------    ------------------------------------------------      -------
    plain         broadcast, untenanted                                 webhook
    of-a          broadcast, tenant (a)                                 webhook
    of-b          broadcast                                             webhook
    waiting       broadcast, untenanted, execution (e)                  webhook
    pattern       broadcast, untenanted, cancelled, keyed               webhook
    elsewhere     cancelled (another name)                              webhook
    never         nothing (a third name)                                webhook
    once          one signal, a broadcast or an untenanted one          webhook
    queue         cancelled                                             queue
    filtered      broadcast, untenanted of at least an amount           webhook
    ordered       keyed, one after the other by key                     webhook

A tap gets what is thrown as a broadcast: broadcast, cancelled, keyed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from tests.support import queues
from tests.support.product import Client
from tests.support.receiver import Answer, Receiver

ENOUGH = 5
_AMOUNT = {"amount": {"operator": "NUM_GTE", "value": str(ENOUGH)}}
_SPECS: dict[str, tuple[dict[str, object], set[str]]] = {
    "plain": ({"name": "placed"}, {"broadcast", "untenanted"}),
    "of-a": ({"name": "placed", "tenantId": "a"}, {"broadcast", "tenant"}),
    "of-b": ({"name": "placed", "tenantId": "b"}, {"broadcast"}),
    "waiting": ({"name": "placed", "executionId": "e"}, {"broadcast", "untenanted", "execution"}),
    "pattern": ({"name": "#"}, {"broadcast", "untenanted", "cancelled", "keyed"}),
    "elsewhere": ({"name": "cancelled"}, {"cancelled"}),
    "never": ({"name": "returned"}, set()),
    "once": ({"name": "placed", "once": True}, {"broadcast", "untenanted"}),
    "queue": ({"name": "cancelled"}, {"cancelled"}),
    "filtered": ({"name": "placed", "filter": _AMOUNT}, {"broadcast", "untenanted"}),
    "ordered": ({"name": "keyed", "ordered": True}, {"keyed"}),
}
SCOPES = ("plain", "of-a", "of-b", "waiting", "pattern", "elsewhere", "never", "once")
"""Subscribers of every scope."""
TARGETS = ("pattern", "queue", "filtered", "ordered")
"""Subscribers of every kind, so few that a machine can bear a higher rate."""
TAPPED = frozenset({"broadcast", "cancelled", "keyed"})


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One subscription.

    Args:
        id: The subscription's id.
        address: The path of its webhooks, or its queue.
        kinds: The kinds of throws that it must get, and no others.
        enough: The amount from which on it must get them.
        ordered: Whether signals of one key come one after the other.
        once: Whether it gets a single signal.
    """

    id: int
    address: str
    kinds: frozenset[str]
    enough: int = 0
    ordered: bool = False
    once: bool = False

    def wants(self, kind: str, amount: int) -> bool:
        """Return whether it must get a throw."""
        return kind in self.kinds and amount >= self.enough


@dataclass(frozen=True, slots=True)
class Audience:
    """All subscribers of a load, and a tap.

    Args:
        subscribers: By the names of the table.
        vhost: Where the queues are; empty: there are none.
        tap: The tap's queue, if there is one.
    """

    subscribers: dict[str, Subscriber] = field(default_factory=dict)
    vhost: str = ""
    tap: str = ""

    @property
    def queues(self) -> list[str]:
        """The queues of the subscribers' own."""
        return [subscriber.address for name, subscriber in self.subscribers.items() if name == "queue"]

    async def leave(self, client: Client) -> None:
        """Delete what `subscribe` made."""
        for subscriber in self.subscribers.values():
            status, _, body = await client.request("DELETE", f"/v1/subscriptions/{subscriber.id}")
            assert status == 204, (status, body)
        if self.vhost:
            await queues.delete(self.vhost, *self.queues, *([self.tap] if self.tap else []))


async def subscribe(
    client: Client,
    receiver: Receiver,
    prefix: str,
    names: Collection[str] = SCOPES,
    *,
    refusals: int = 0,
    vhost: str = "",
) -> Audience:
    """Create subscriptions for signals whose names begin with *prefix*, and a tap if there is a *vhost*.

    Each webhook refuses its first *refusals* requests; that of `once` refuses none, since it gets but one signal.
    """
    audience = Audience(vhost=vhost)
    for name in names:
        spec, kinds = _SPECS[name]
        address = f"{prefix}.queue" if name == "queue" else f"/{prefix}/{name}"
        if name == "queue":
            target = {"kind": "queue", "queue": await queues.declare(vhost, queue=address)}
        else:
            refused = 0 if name == "once" else refusals
            answers = [Answer(status=500)] * refused
            target = {"kind": "webhook", "url": receiver.answer(address, *answers, Answer())}
        document = {"name": f"{prefix}.{spec['name']}", "target": target, "retry": {"schedule": [0.5] * 40}}
        created = await client.post("/v1/subscriptions", spec | document)
        audience.subscribers[name] = Subscriber(
            id=created["id"],
            address=address,
            kinds=frozenset(kinds),
            enough=ENOUGH if name == "filtered" else 0,
            ordered="ordered" in spec,
            once="once" in spec,
        )
    if vhost:
        tap = await queues.declare(vhost, f"signals.by-name={prefix}.#", queue=f"{prefix}.tap")
        return Audience(audience.subscribers, vhost, tap)
    return audience
