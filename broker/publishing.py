"""Publishing signals: to taps and the recorder, or to the recorder alone."""

from __future__ import annotations

from datetime import timedelta

import structlog

from broker import metrics
from broker.errors import Unconfirmed, Unroutable
from broker.messages import signal_message
from broker.signals import Signal
from broker.topology import BROADCAST, RECORD, ROUTED
from broker.transport import Transport

log = structlog.get_logger()


async def publish_to_record(transport: Transport, signal: Signal, *, timeout: timedelta) -> None:
    """Publish *signal* to the record queue alone, so that no tap gets it.

    Raises:
        TransportError: It was not confirmed within *timeout*.
    """
    await transport.publish(signal_message(signal), exchange="", routing_key=RECORD, timeout=timeout)


async def publish_to_all(transport: Transport, signal: Signal, *, timeout: timedelta) -> None:
    """Publish *signal* to the taps and the recorder; if a tap prevents the confirm, to the record queue alone.

    A fan-out is confirmed only once every bound queue has taken it, but only the record queue decides whether the
    signal is accepted. The recorder drops the repeat by its id.

    Raises:
        TransportError: The record queue did not confirm it either. Each of the two attempts may take *timeout*.
    """
    exchange = BROADCAST if signal.throw.is_fanout else ROUTED
    try:
        await transport.publish(
            signal_message(signal), exchange=exchange, routing_key=signal.throw.routing_key, timeout=timeout
        )
    except (Unconfirmed, Unroutable) as error:
        await publish_to_record(transport, signal, timeout=timeout)
        metrics.TAP_REJECTIONS.labels(exchange).inc()
        metrics.REPEATS.labels(metrics.Repeat.PUBLISHED).inc()
        log.warning("tap.rejected", signal_id=signal.id, exchange=exchange, error=str(error))
