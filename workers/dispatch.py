"""Publishing due attempts to the deliverers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import structlog

from broker import metrics
from broker.deliveries import Due
from broker.errors import Unroutable
from broker.messages import due_message
from broker.topology import DELIVERIES
from broker.transport import Transport

_WINDOW = 1000
"""How many publishes wait for their confirms at a time."""

log = structlog.get_logger()


async def dispatch(transport: Transport, dues: Sequence[Due], *, timeout: timedelta) -> None:
    """Publish one message per due attempt, pipelined; return once all are confirmed.

    One whose queue is not there (an app's that never ran, or was deleted) holds up nobody: its delivery stays pending,
    and the scheduler finds it once the queue is there.

    Raises:
        TransportError: At least one was not confirmed. Publishing all of them again is harmless.
    """
    nowhere: Counter[str] = Counter()
    for start in range(0, len(dues), _WINDOW):
        window = dues[start : start + _WINDOW]
        failures = await asyncio.gather(
            *(
                transport.publish(due_message(due), exchange=DELIVERIES, routing_key=due.queue, timeout=timeout)
                for due in window
            ),
            return_exceptions=True,
        )
        for due, failure in zip(window, failures, strict=True):
            if isinstance(failure, Unroutable):
                nowhere[due.queue] += 1
            elif failure is not None:
                raise failure
    for queue, count in nowhere.items():
        metrics.UNROUTABLE.labels(queue).inc(count)
        log.warning("queue.missing", queue=queue, deliveries=count)
