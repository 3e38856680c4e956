"""Publishing due attempts to the deliverers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from broker.deliveries import Due
from broker.messages import due_message
from broker.topology import DELIVERIES
from broker.transport import Transport

_WINDOW = 1000
"""How many publishes wait for their confirms at a time."""


async def dispatch(transport: Transport, dues: Sequence[Due], *, timeout: timedelta) -> None:
    """Publish one message per due attempt, pipelined; return once all are confirmed.

    Raises:
        TransportError: At least one was not confirmed. Publishing all of them again is harmless.
    """
    for start in range(0, len(dues), _WINDOW):
        await asyncio.gather(
            *(
                transport.publish(due_message(due), exchange=DELIVERIES, routing_key=due.queue, timeout=timeout)
                for due in dues[start : start + _WINDOW]
            )
        )
