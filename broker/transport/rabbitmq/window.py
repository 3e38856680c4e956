"""The window of one consumer: how many messages RabbitMQ may hand out, so that their bodies fit into memory.

RabbitMQ counts messages, not bytes (it has no `prefetch_size`), and a client that stops reading would stop its acks and
heartbeats, too. So a window is as many messages as fit at the size of the largest one lately. While sizes change slowly
that is enough; the surplus of a sudden change is handed back unread.
"""

from __future__ import annotations

from broker.transport import HELD_BYTES

_GROWTH = 4
"""By what factor a window grows at most: a few small messages say little about the next ones."""


class Window:
    """The messages that a consumer holds unsettled, by their tags and in the order of their arrival.

    Args:
        most: How many of them there may be.
        most_bytes: How many bytes their bodies may have together.
    """

    def __init__(self, most: int, *, most_bytes: int = HELD_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self._prefetch = self._granted = most
        self._seen = 0
        self._largest = 0
        self._largest_before = 0

    @property
    def tags(self) -> dict[int, int]:
        """The tags of the unsettled messages, with the sizes of their bodies."""
        return self._sizes

    @property
    def is_low(self) -> bool:
        """Whether there is room for a new prefetch, beside what is unsettled."""
        return self._bytes <= self._most_bytes // 2

    def resize(self, most: int, *, most_bytes: int) -> bool:
        """Let there be *most* messages of *most_bytes* from the next `open` on; return whether there were others."""
        if (most, most_bytes) == (self._most, self._most_bytes):
            return False
        self._most, self._most_bytes, self._prefetch = most, most_bytes, most
        return True

    def open(self) -> int:
        """Return the prefetch to consume with: together with what is unsettled it fits."""
        fitting = self._fitting()
        if fitting < self._prefetch or self.may_grow:
            self._prefetch = min(fitting, self._prefetch * _GROWTH)
        self._seen = self._largest = self._largest_before = 0
        self._granted = self._room()
        return self._granted

    def add(self, tag: int, size: int) -> bool:
        """Add a message, unless there is no room for it; return whether it was added."""
        self._note(size)
        if self._sizes and self._bytes + size > self._most_bytes:
            return False
        self._sizes[tag] = size
        self._bytes += size
        return True

    def remove(self, tag: int) -> None:
        """Remove a message that was settled."""
        self._bytes -= self._sizes.pop(tag)

    def clear(self) -> None:
        """Remove all messages: they come again."""
        self._sizes.clear()
        self._bytes = 0

    @property
    def may_grow(self) -> bool:
        """Whether the prefetch may be twice as large, or as large as ever.

        Messages have become so small, or what was unsettled when it was granted is settled: that left no room for more.
        """
        if 2 * self._granted <= self._room():
            return True
        if self._prefetch >= self._most or not self._largest_before:
            return False
        return self._fitting() >= min(2 * self._prefetch, self._most)

    def _room(self) -> int:
        return max(1, min(self._prefetch, self._most - len(self._sizes)))

    def _note(self, size: int) -> None:
        self._seen += 1
        self._largest = max(self._largest, size, 1)
        if self._seen == self._prefetch:  # there may be no further one until some of these are settled
            self._seen, self._largest_before, self._largest = 0, self._largest, 0

    def _fitting(self) -> int:
        """Return how many of the largest messages seen lately fit beside as many that are unsettled still."""
        largest = max(self._largest, self._largest_before, 1)
        return max(1, min(self._most, self._most_bytes // 2 // largest))
