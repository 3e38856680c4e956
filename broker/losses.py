"""Lost queues: whichever process finds one missing tells the others, which may not notice that it is another one now.

Gateways know what the record queue held, and publish it again. Workers consume anew: RabbitMQ 3.10 may go on with a
consumer of the deleted queue, and then the first messages of the new queue reach no consumer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import structlog

from broker.errors import StoreUnavailable
from broker.store.postgres.database import Database
from broker.topology import RECORD
from broker.transport import Transport

CHANNEL = "queue_missing"
_PAUSE = 0.5

log = structlog.get_logger()


def announce_losses(transport: Transport, database: Database, queues: Iterable[str]) -> None:
    """Tell all processes whenever *transport* finds one of *queues* missing.

    They may notice nothing: this process can create the queue again before they publish to it, say.
    """
    announcing: dict[str, asyncio.Task[None]] = {}

    def found_missing(queue: str) -> None:
        if queue not in announcing:
            announcing[queue] = task = asyncio.create_task(_announce(database, queue))
            task.add_done_callback(lambda _: announcing.pop(queue))

    for queue in queues:
        transport.on_missing(queue, partial(found_missing, queue))


def listen_for_losses(database: Database, restore: Callable[[], None]) -> None:
    """Call *restore* whenever another process has found the record queue missing, or may have."""
    database.listen(CHANNEL, lambda queue: restore() if queue in {None, RECORD} else None)


def consume_anew_after_losses(database: Database, transport: Transport) -> None:
    """Let *transport* consume a queue anew whenever another process has found it missing."""
    database.listen(CHANNEL, lambda queue: None if queue is None else transport.consume_anew(queue))


async def _announce(database: Database, queue: str) -> None:
    """Tell all processes, however long that takes."""
    while True:
        try:
            return await database.notify(CHANNEL, queue)
        except StoreUnavailable as error:
            log.warning("loss.unannounced", queue=queue, error=str(error))
            await asyncio.sleep(_PAUSE)
