"""The part of the transport port for queues that are split into shards: only RabbitMQ's adapter has it."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol, runtime_checkable

from broker.topology import Sharding
from broker.transport import Transport


@runtime_checkable
class ShardingTransport(Protocol):
    """A transport that splits the queues of `broker.topology.SHARDED`.

    To its users, such a queue is one queue. What they publish to it goes to one of its shards, by `Message.shard_by`;
    they consume all of its shards by one inbox; its depth is that of all together, and it is missing, or lacks
    something, if one of them does. Its consumers are those of the shard that has the most.
    """

    def shard(self, queue: str, sharding: Sharding, *, valid: timedelta) -> None:
        """Split *queue* as *sharding* says, from now on; the shards have been declared.

        Publishing obeys at once. It goes by *sharding* for the time that is *valid*, unless it is told anew: after that
        the first shard gets everything, because others may have been deleted. Consumers leave a shard that is no longer
        consumed when they hold none of its messages, and it is no longer kept.
        """
        ...

    def shards(self, queue: str) -> tuple[str, ...]:
        """Return the queues that *queue* is split into, as far as they may hold messages; only itself if it is not."""
        ...

    async def total(self, queue: str, *, timeout: timedelta) -> int | None:
        """Return how many messages *queue* holds, those included that were handed out, as of some seconds ago.

        None: that was not measured so far.

        Raises:
            Unavailable: That cannot be seen; the message says why.
        """
        ...

    async def delete(self, queue: str, *, timeout: timedelta) -> None:
        """Delete *queue* with all that it holds, if there is one.

        Raises:
            Unavailable: The server could not be reached in time.
            ConfigurationError: The user may not delete it.
        """
        ...


def shards_of(transport: Transport, queue: str) -> tuple[str, ...]:
    """Return the queues that *queue* is split into, as far as they may hold messages; only itself if it is not."""
    return transport.shards(queue) if isinstance(transport, ShardingTransport) else (queue,)
