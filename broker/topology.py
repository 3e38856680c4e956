"""The exchanges, queues and bindings of the product, as data.

    throw --+--always-------> signals.record (quorum) --> recorder
            |                       |
            |                       +--poison--> signals.record.dead
            |
            +--broadcast----> signals.broadcast (fanout) --> signals.by-name (topic) --> taps
            |
            +--tenant, ...--> signals.routed (topic) --> taps

    recorder, scheduler --> deliveries (direct) --+--> deliveries.attempt (quorum) ------> deliverer
                              ^                   |          |                             |  |
                              |                   |          +--poison--> ...attempt.dead  |  |
                              |                   |                                        |  |
                              |                   +--> deliveries.attempt.slow (quorum) ---+  |
                              |                              |                                |
                              |                              +--poison--> ...slow.dead        |
                              +---- attempts moved out of the way of faster ones -------------+

    recorder, scheduler --> deliveries (direct) -----> deliveries.attempt.handlers.<app> (quorum) --> worker of that app
                                                             |
                                                             +--poison--> ...<app>.dead

The topology is static: there is no queue per tenant or subscription. Only an app of handlers has a queue of its own,
because only its own workers can run them. An operator may split `signals.record` and `deliveries.attempt` into shards:
further queues (`signals.record.1`, ...) beside the one that is always there, with the same dead queue.

Queue arguments are immutable in RabbitMQ, so they hold only what never changes; queues that an earlier version declared
with other arguments are used as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

BROADCAST = "signals.broadcast"
ROUTED = "signals.routed"
BY_NAME = "signals.by-name"
RECORD = "signals.record"
DELIVERIES = "deliveries"
ATTEMPT = "deliveries.attempt"
SLOW_ATTEMPT = "deliveries.attempt.slow"
LANES = (ATTEMPT, SLOW_ATTEMPT)
"""The queues whose attempts any deliverer makes."""
_OF_APPS = "deliveries.attempt.handlers."
LEASED = "$pull"
"""The app of deliveries to pull targets, which no workers can have: callers lease them, and no message is published."""
SHARDED = (RECORD, ATTEMPT)
"""The queues that can be split into shards, of which the first has the queue's own name."""
MOST_SHARDS = 32

DELIVERY_LIMIT = 10_000
"""How often a message may be handed out *again* before it is poison; lost links and restarts count too.

It is the last guard only. Consumers count the failures of a message themselves.
"""
_EARLIER_LIMITS = (20,)
"""Limits of earlier versions. Arguments cannot be changed, so queues that have one of these are used as they are."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange.

    Args:
        name: The exchange's name.
        kind: How it routes.
        witness: Whether it goes with its last binding. Nothing is published to such an exchange: that it is gone shows
            that the queue behind it was deleted, even if that was declared again at once.
    """

    name: str
    kind: Literal["fanout", "topic", "direct"]
    witness: bool = False


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable quorum queue.

    Args:
        name: The queue's name.
        dead_letter_exchange: Gets rejected messages and those over the delivery limit, at least once.
        delivery_limit: How often a message may be handed out again.
        balanced: Whether its leader is on the node that leads the fewest queues, and not on that of who declares it.
    """

    name: str
    dead_letter_exchange: str | None = None
    delivery_limit: int = DELIVERY_LIMIT
    balanced: bool = False

    @property
    def earlier(self) -> tuple[Queue, ...]:
        """The queue as earlier versions declared it."""
        if self.delivery_limit != DELIVERY_LIMIT:
            return ()
        return tuple(replace(self, delivery_limit=limit) for limit in _EARLIER_LIMITS)

    @property
    def arguments(self) -> dict[str, str | int]:
        """The queue's immutable arguments in RabbitMQ's spelling."""
        arguments: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": self.delivery_limit}
        if self.dead_letter_exchange is not None:
            arguments |= {
                "x-dead-letter-exchange": self.dead_letter_exchange,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            }
        if self.balanced:
            arguments["x-queue-leader-locator"] = "balanced"
        return arguments


@dataclass(frozen=True, slots=True)
class Binding:
    """A route from an exchange to a queue, or to another exchange."""

    source: str
    destination: str
    routing_key: str
    to: Literal["queue", "exchange"] = "queue"


@dataclass(frozen=True, slots=True)
class Topology:
    """Exchanges, queues and bindings, which are declared in this order."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()


@dataclass(frozen=True, slots=True)
class Sharding:
    """Into how many shards a queue is split.

    Args:
        published: How many of them get messages.
        consumed: How many of them are declared and consumed: more than *published* while their number changes.
        suspended: How many more there are whose consumption is suspended; they may hold messages.
    """

    published: int = 1
    consumed: int = 1
    suspended: int = 0

    @property
    def count(self) -> int:
        """How many may hold messages."""
        return self.consumed + self.suspended


def dead_letters(queue: str) -> str:
    """Return the name of the dead queue (and of its exchange) behind *queue*."""
    return f"{queue}.dead"


def _witness(queue: str) -> str:
    return f"{queue}.witness"


TOPOLOGY = Topology(
    exchanges=(
        Exchange(BROADCAST, "fanout"),
        Exchange(ROUTED, "topic"),
        Exchange(BY_NAME, "topic"),
        Exchange(_witness(RECORD), "fanout", witness=True),
        Exchange(DELIVERIES, "direct"),
        Exchange(dead_letters(RECORD), "fanout"),
        Exchange(dead_letters(ATTEMPT), "fanout"),
        Exchange(dead_letters(SLOW_ATTEMPT), "fanout"),
    ),
    queues=(
        Queue(dead_letters(RECORD)),
        Queue(dead_letters(ATTEMPT)),
        Queue(dead_letters(SLOW_ATTEMPT)),
        Queue(RECORD, dead_letter_exchange=dead_letters(RECORD)),
        Queue(ATTEMPT, dead_letter_exchange=dead_letters(ATTEMPT)),
        Queue(SLOW_ATTEMPT, dead_letter_exchange=dead_letters(SLOW_ATTEMPT)),
    ),
    bindings=(
        Binding(dead_letters(RECORD), dead_letters(RECORD), ""),
        Binding(dead_letters(ATTEMPT), dead_letters(ATTEMPT), ""),
        Binding(dead_letters(SLOW_ATTEMPT), dead_letters(SLOW_ATTEMPT), ""),
        Binding(BROADCAST, BY_NAME, "", to="exchange"),
        Binding(_witness(RECORD), RECORD, ""),
        Binding(DELIVERIES, ATTEMPT, ATTEMPT),
        Binding(DELIVERIES, SLOW_ATTEMPT, SLOW_ATTEMPT),
    ),
)


RETIRED = (Binding(BROADCAST, RECORD, ""), Binding(ROUTED, RECORD, "#"))
"""Bindings of earlier versions, whose gateways rely on them: they go when no such gateway runs any more."""


def consumed_queues() -> tuple[str, ...]:
    """Return the queues of `TOPOLOGY` that workers consume: each has a dead queue."""
    return tuple(queue.name for queue in TOPOLOGY.queues if queue.dead_letter_exchange is not None)


def shard_names(queue: str, count: int, *, first: int = 0) -> tuple[str, ...]:
    """Return the names of the shards of *queue*, of which there are *count*, from the *first* of these numbers on."""
    return tuple(queue if number == 0 else f"{queue}.{number}" for number in range(first, count))


def queue_of_shard(name: str) -> str:
    """Return the queue that the queue *name* is a shard of; *name* itself if it is not one."""
    queue, _, number = name.rpartition(".")
    return queue if number.isdecimal() and queue in SHARDED else name


def shard_topology(queue: str, count: int, *, first: int = 1) -> Topology:
    """Return what is declared in addition to `TOPOLOGY` for *count* shards of *queue*, from number *first* on."""
    names, dead = shard_names(queue, count, first=first), dead_letters(queue)
    queues = tuple(Queue(name, dead_letter_exchange=dead, balanced=True) for name in names)
    if queue != RECORD:
        return Topology(queues=queues, bindings=tuple(Binding(DELIVERIES, name, name) for name in names))
    return Topology(
        exchanges=tuple(Exchange(_witness(name), "fanout", witness=True) for name in names),
        queues=queues,
        bindings=tuple(Binding(_witness(name), name, "") for name in names),
    )


def attempt_queue(app: str) -> str:
    """Return the queue of attempts that the workers of *app* make, or any deliverer if *app* is empty."""
    return f"{_OF_APPS}{app}" if app else ATTEMPT


def app_of(queue: str) -> str:
    """Return the app whose workers make the attempts of *queue*; empty if any deliverer does."""
    return queue.removeprefix(_OF_APPS) if is_of_app(queue) else ""


def app_topology(app: str) -> Topology:
    """Return the topology that the workers of *app* declare in addition to `TOPOLOGY`."""
    queue = attempt_queue(app)
    dead = dead_letters(queue)
    return Topology(
        exchanges=(Exchange(dead, "fanout"),),
        queues=(Queue(dead), Queue(queue, dead_letter_exchange=dead)),
        bindings=(Binding(dead, dead, ""), Binding(DELIVERIES, queue, queue)),
    )


def queues_of(apps: Iterable[str]) -> tuple[Queue, ...]:
    """Return the queues of `TOPOLOGY` and of *apps*."""
    return TOPOLOGY.queues + tuple(queue for app in apps for queue in app_topology(app).queues)


def is_leased(queue: str) -> bool:
    """Return whether *queue* stands for attempts that callers lease; it does not exist."""
    return queue == attempt_queue(LEASED)


def is_of_app(queue: str) -> bool:
    """Return whether *queue* is the queue of an app's handlers."""
    return queue.startswith(_OF_APPS)


_RESERVED = (RECORD, BROADCAST, ROUTED, BY_NAME, ATTEMPT)
"""With all names that go on after a dot: dead queues, the queues of apps, and those of later versions."""


RESERVED = rf"^(amq\.|({'|'.join(map(re.escape, _RESERVED))})(\.|$)|{DELIVERIES}$)"
"""The pattern of the product's own names, and of RabbitMQ's.

``amq.gen-...`` and ``amq.rabbitmq.reply-to.g1h2...`` are queues that belong to one connection.
"""


def is_reserved(queue: str) -> bool:
    """Return whether targets must not publish to *queue*, because its name is `RESERVED`."""
    return re.match(RESERVED, queue) is not None
