"""Publishing due attempts to the deliverers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import structlog

from broker import metrics
from broker.deliveries import DueAttempt
from broker.errors import Unconfirmed, Unroutable
from broker.messages import due_message
from broker.topology import DELIVERIES, is_leased, is_of_app
from broker.transport import Transport

_WINDOW = 1000
"""How many publishes wait for their confirms at a time."""

log = structlog.get_logger()


async def dispatch(transport: Transport, due_attempts: Sequence[DueAttempt], *, timeout: timedelta) -> None:
    """Publish one message per due attempt, pipelined; return once all are confirmed.

    An attempt whose queue is missing, or is an app's and does not take it, does not hold up the others: its delivery
    stays pending, and the scheduler rescues it later. One that callers lease needs no message.

    Raises:
        TransportError: At least one was not confirmed. Publishing all of them again is harmless.
    """
    due_attempts = [due for due in due_attempts if not is_leased(due.queue)]
    left: Counter[str] = Counter()
    why: dict[str, str] = {}
    for start in range(0, len(due_attempts), _WINDOW):
        window = due_attempts[start : start + _WINDOW]
        failures = await asyncio.gather(
            *(
                transport.publish(due_message(due), exchange=DELIVERIES, routing_key=due.queue, timeout=timeout)
                for due in window
            ),
            return_exceptions=True,
        )
        for due, failure in zip(window, failures, strict=True):
            if isinstance(failure, Unroutable) or (isinstance(failure, Unconfirmed) and is_of_app(due.queue)):
                left[due.queue] += 1
                why[due.queue] = str(failure)
            elif failure is not None:
                raise failure
    for queue, count in left.items():
        metrics.LEFT.labels(queue).inc(count)
        log.warning("attempts.left", queue=queue, deliveries=count, error=why[queue])
