"""Losses of the record queue: whichever process finds it missing tells the gateways, which know what it held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from broker.errors import StoreUnavailable
from broker.store.postgres.database import Database
from broker.topology import RECORD
from broker.transport import Transport

CHANNEL = "record_queue_missing"
_PAUSE = 0.5

log = structlog.get_logger()


def announce_losses(transport: Transport, database: Database) -> None:
    """Tell the gateways whenever *transport* finds the record queue missing.

    A gateway may notice nothing: another process can create the queue again before the gateway publishes to it.
    """
    announcing: set[asyncio.Task[None]] = set()

    def found_missing() -> None:
        if not announcing:
            announcing.add(task := asyncio.create_task(_announce(database)))
            task.add_done_callback(announcing.discard)

    transport.on_missing(RECORD, found_missing)


def listen_for_losses(database: Database, restore: Callable[[], None]) -> None:
    """Call *restore* whenever another process has found the record queue missing, or may have."""
    database.listen(CHANNEL, lambda _: restore())


async def _announce(database: Database) -> None:
    """Tell the gateways, however long that takes."""
    while True:
        try:
            return await database.notify(CHANNEL)
        except StoreUnavailable as error:
            log.warning("loss.unannounced", error=str(error))
            await asyncio.sleep(_PAUSE)
