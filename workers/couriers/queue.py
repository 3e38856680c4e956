"""Queues: messages that RabbitMQ confirms."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import cast

from broker.deliveries import Outcome, Result
from broker.errors import Nacked, Unavailable, Unconfirmed, Unroutable
from broker.messages import signal_message
from broker.store.deliveries.attempts import Claimed
from broker.targets import QueueTarget
from broker.transport import Message, Transport
from workers.couriers import Sent


class QueueCourier:
    """Publishes to a subscriber's queue; only a publisher confirm is a success."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def preview(self, claimed: Claimed) -> Sent:
        """Return the headers and the body of the message."""
        message = _message(claimed)
        return Sent({name: str(value) for name, value in message.headers.items()}, message.body)

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Publish the signal, persistent and mandatory, with an id that is the same on every attempt."""
        queue = cast(QueueTarget, claimed.target).queue
        try:
            await self._transport.publish(_message(claimed), exchange="", routing_key=queue, timeout=timeout)
        except Unroutable:
            return Result(outcome=Outcome.UNROUTABLE, error=f"there is no queue {queue!r}")
        except Nacked as error:
            return Result(outcome=Outcome.REFUSED, error=str(error))
        except Unconfirmed as error:
            return Result(outcome=Outcome.TIMED_OUT, error=str(error))
        except Unavailable as error:
            return Result(outcome=Outcome.UNREACHABLE, error=str(error))
        return Result(outcome=Outcome.SUCCEEDED)


def _message(claimed: Claimed) -> Message:
    message = signal_message(claimed.signal)
    headers = {key: value for key, value in message.headers.items() if key not in {"CC", "reach"}}
    return replace(message, headers=headers | {"delivery-id": claimed.message_id, "attempt": claimed.due.attempt})
