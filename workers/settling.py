"""What a handler is, and how its results become settlements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from broker import metrics
from broker.errors import StoreRefusal, StoreUnavailable, TransportError
from broker.streaks import Streak
from broker.transport import Inbox, Received, Settlement

Handler = Callable[[Sequence[Received]], Awaitable[Sequence[Settlement]]]
"""Given messages, returns a settlement for each, or raises because of at least one of them."""


class Apart(Exception):
    """Raised by a handler whose messages are to be handled, and settled, one group after the other.

    Args:
        groups: The messages, in groups; the first one is handled first.
    """

    def __init__(self, groups: Sequence[Sequence[Received]]) -> None:
        super().__init__(f"{len(groups)} groups")
        self.groups = groups


class Settler:
    """Lets *handle* handle messages of *inbox*, and settles them.

    Args:
        inbox: Where the messages are from.
        queue: The name of its queue.
        handle: Handles them.
        outcomes: Told whether they could be handled.
    """

    def __init__(self, inbox: Inbox, queue: str, handle: Handler, outcomes: Streak) -> None:
        self._outcomes = outcomes
        self._inbox = inbox
        self.queue = queue
        self._handle = handle

    async def handle(self, messages: Sequence[Received]) -> bool:
        """Handle *messages* and settle each as the handler says; return whether one of them was acked.

        Raises:
            Exception: What the handler raised; nothing is settled.
        """
        by_settlement = defaultdict(list)
        try:
            settlements = await self._handle(messages)
        except Apart:
            raise
        except Exception as error:
            self._outcomes.note_failure(error, of=_suspect(messages, error))
            raise
        self._outcomes.note_success()
        for message, settlement in zip(messages, settlements, strict=True):
            by_settlement[settlement].append(message)
        for settlement, settled in by_settlement.items():
            await self.settle(settled, settlement)
        return Settlement.ACK in by_settlement

    async def settle(self, messages: Sequence[Received], settlement: Settlement) -> None:
        """Settle *messages*, all of them the same way."""
        if settlement is Settlement.REJECT:
            metrics.POISONED.labels(self.queue).inc(len(messages))
        await self._inbox.settle(messages, settlement)


def _suspect(messages: Sequence[Received], error: Exception) -> int | None:
    """Return the tag of the one message that may be the cause of *error*; None if there are more, or it is not."""
    not_its_fault = isinstance(error, StoreUnavailable | TransportError) and not isinstance(error, StoreRefusal)
    return None if not_its_fault or len(messages) > 1 else messages[0].tag
