"""The transport port: exchanges, queues, publisher confirms and settlements, as AMQP 0-9-1 defines them.

Two adapters implement it, `broker.transport.rabbitmq` and `broker.transport.embedded`. Each sentence below has a test
in tests/conformance, which runs against both.
"""

from __future__ import annotations

import asyncio
import enum
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from broker.errors import Unroutable
from broker.topology import Binding, Queue, Topology

NO_QUEUE = "signal-broker.rehearsal"
"""A queue that does not exist: a message to it is not stored."""
HELD_BYTES = 32 << 20
"""Bytes of bodies that one consumer has unsettled at a time."""

Header = str | int | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What travels through an exchange.

    Args:
        body: At most 16 MiB (RabbitMQ 4.x's default limit).
        headers: Header table; a ``CC`` header (list of routing keys) routes the message by those keys, too. Each queue
            gets one copy.
        type: AMQP ``type`` property.
        timestamp: AMQP ``timestamp`` property, in whole seconds.
        content_type: AMQP ``content_type`` property.
        shard_by: What decides which shard of a split queue gets the message, the same one for the same value; a number
            is taken modulo the number of shards. None: the first shard. It is not sent.
    """

    body: bytes
    headers: Mapping[str, Header] = field(default_factory=dict)
    type: str | None = None
    timestamp: datetime | None = None
    content_type: str = "application/json"
    shard_by: int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Message):
    """A message as a consumer got it; `tag` is the adapter's handle for settling it."""

    tag: int
    redelivered: bool
    """Whether the message was handed out before without being settled."""


class Settlement(enum.Enum):
    """What a consumer does with a message."""

    ACK = "ack"
    """The message is done, and is deleted."""
    REJECT = "reject"
    """The message is poison, and goes to the dead queue at once."""
    RETURN = "return"
    """The message returns to the queue, through no fault of its own, and comes again, `redelivered`.

    RabbitMQ before 4.3 counts that towards the delivery limit.
    """


class Inbox(Protocol):
    """One consumer's unsettled messages, in queue order."""

    async def receive(self, limit: int, *, max_bytes: int = sys.maxsize) -> Sequence[Received]:
        """Wait for the first message, then return up to *limit* without waiting for more.

        Their bodies have at most *max_bytes* together; a message with more comes alone.

        After a lost link the inbox re-establishes itself; unsettled messages come again, `redelivered`.
        """
        ...

    async def settle(self, messages: Sequence[Received], settlement: Settlement) -> None:
        """Settle *messages*, all of them the same way.

        A message whose link was lost meanwhile is silently skipped: it comes again.
        """
        ...

    def suspend(self) -> None:
        """Cancel the consumer until `resume`, so that other consumers get the messages.

        Messages that `receive` has returned stay unsettled; the others go back to the queue.
        """
        ...

    def resume(self) -> None:
        """Consume again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """A setting of the server by which messages can leave a queue although no consumer has settled them.

    Args:
        queue: The queue.
        source: What an operator calls the setting's place: ``policy 'tidy'``.
        key: The setting, and what it is set to: ``message-ttl = 5000``.
        effect: What it does to the queue, as the end of a sentence.
        loses: Whether messages leave or are deleted; otherwise the queue only does less than the product asked for.
    """

    queue: str
    source: str
    key: str
    effect: str
    loses: bool


def take_batch(received: deque[Received], limit: int, *, max_bytes: int) -> list[Received]:
    """Take from the front of *received* what `Inbox.receive` returns."""
    batch: list[Received] = []
    while received and len(batch) < limit:
        max_bytes -= len(received[0].body)
        if batch and max_bytes < 0:
            break
        batch.append(received.popleft())
    return batch


class Transport(Protocol):
    """A message transport that never loses what it confirmed.

    An adapter is an async context manager: entering starts it (without waiting for the server), leaving closes it.
    Closing returns every unsettled message to its queue.
    """

    async def declare(self, topology: Topology) -> Sequence[str]:
        """Create the missing parts of *topology*, and keep it: parts that are lost later are created again.

        Repeating it changes nothing. What exists is enough for a user who may not configure it. While the server cannot
        change bindings, those between exchanges and queues that exist are made later; a topology of bindings alone
        waits for them.

        Returns:
            The queues that an earlier version declared with arguments of its own, which do as well.

        Raises:
            Unavailable: The server could not be reached in time, or something is missing that the user may not create.
            ConfigurationError: An exchange or a queue of that name exists with other arguments.
        """
        ...

    async def unbind(self, bindings: Sequence[Binding]) -> int | None:
        """Remove those of *bindings* that exist.

        Returns:
            How many there were; None if the server does not tell.

        Raises:
            Unavailable: The server could not be reached in time.
            ConfigurationError: The user may not remove them.
        """
        ...

    @property
    def may_lose_queues(self) -> bool:
        """Whether a queue may go missing, with its messages."""
        ...

    def on_missing(self, queue: str, call: Callable[[], None]) -> None:
        """Call *call* each time *queue* is found missing, whose messages went with it, before it is created again."""
        ...

    def consume_anew(self, queue: str) -> None:
        """Let the consumers of *queue* begin again, as after a lost link: it may be another queue of that name now."""
        ...

    def publish(
        self,
        message: Message,
        *,
        exchange: str,
        routing_key: str,
        timeout: timedelta,
        mandatory: bool = True,
        repeatable: bool = False,
    ) -> asyncio.Future[None]:
        """Send *message* as persistent; the future is done once every queue it routes to holds it safely.

        The exchange ``""`` routes to the queue named by the routing key. Messages are pipelined, whether or not their
        futures are awaited, and reach a queue in the order in which they were published. A message that is not
        *mandatory* is done, too, if no queue is bound for its routing key. One that is *repeatable* may reach its queue
        more than once, because its consumers drop repeats.

        Raises (the future does):
            Unroutable: No queue is bound for *routing_key* (or the exchange is missing); nothing was stored.
            Unavailable: No link within *timeout*, or publishers are blocked; nothing was sent.
            Unconfirmed: No confirm within *timeout*, or the link was lost meanwhile. The message may be stored all the
                same.
            Nacked: A queue refused the message; other queues may hold it.
        """
        ...

    async def rehearse(self, *, timeout: timedelta) -> None:
        """Return once the server has taken a message for a queue that does not exist, so that nothing is stored.

        Raises:
            TransportError: It takes no messages to queues by their names now, or did not answer in time.
        """
        ...

    def lacks(self, name: str) -> bool:
        """Return whether the exchange or queue *name*, which was declared here, cannot do its work.

        It is missing, is of another kind, or lacks a binding that leads to it, and this could not be mended so far.
        """
        ...

    def consume(self, queue: str, *, prefetch: int) -> AbstractAsyncContextManager[Inbox]:
        """Consume *queue* with at most *prefetch* unsettled messages at a time.

        They have at most `HELD_BYTES` of bodies; a larger one is handed out alone. Leaving the context first stops new
        messages; unsettled ones return to the queue, `redelivered`.
        """
        ...

    async def depth(self, queue: str, *, timeout: timedelta) -> int:
        """Return the number of messages in *queue* that are ready (not handed out).

        Raises:
            Unavailable: The server could not be reached in time.
            Unroutable: There is no such queue.
        """
        ...

    async def consumers(self, queue: str, *, timeout: timedelta) -> int:
        """Return how many consumers *queue* has; 0 if its messages are in the store, where every consumer can report.

        Raises:
            Unavailable: The server could not be reached in time.
            Unroutable: There is no such queue.
        """
        ...

    async def hazards(self, queues: Sequence[Queue], *, timeout: timedelta) -> Sequence[Hazard]:
        """Return the settings of the server that make it do less for *queues* than they were declared for.

        A queue that does not exist has none. Each host and queue that is asked may take *timeout*.

        Raises:
            Unavailable: The settings cannot be seen; the message says why.
        """
        ...

    async def gaps(self, topology: Topology, *, timeout: timedelta) -> Sequence[str]:
        """Return what is missing of the exchanges and bindings of *topology*, or of another kind: a phrase for each.

        Each host and part that is asked for may take *timeout*.

        Raises:
            Unavailable: They cannot be seen; the message says why.
        """
        ...

    def unsettled(self, queue: str) -> Sequence[int]:
        """Return the tags of the messages of *queue* that consumers here were handed out and have not settled.

        The messages of each consumer are in the order in which they came.
        """
        ...

    def lost_at(self, queue: str) -> float:
        """Return when a consumer of *queue* here was last lost, in the loop's time; minus infinity: never.

        A server that cannot reach a consumer keeps for a minute what it handed out to it: it is not ready, and not
        unsettled here.
        """
        ...

    @property
    def ready(self) -> bool:
        """Whether a message can be published now: there is a link, it is not blocked, and confirms come."""
        ...

    @property
    def linked(self) -> bool:
        """Whether there is a link to the server for consumers: with one, a missing consumer is a fault of ours."""
        ...

    @property
    def consuming(self) -> bool:
        """Whether the server knows every consumer that is open here, and not suspended."""
        ...


def check_parts(transport: Transport, names: Iterable[str]) -> None:
    """Return if the exchanges and queues *names* can do their work, as far as *transport* knows.

    Raises:
        Unroutable: One of them cannot.
    """
    for name in names:
        if transport.lacks(name):
            raise Unroutable(f"{name} is missing, of another kind, or without its binding, and this cannot be mended")
