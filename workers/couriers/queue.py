"""Queues: messages that RabbitMQ confirms."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import cast

from broker import tracing
from broker.cloudevents import AMQP_PREFIX, STRUCTURED, event_attributes, event_json
from broker.deliveries import Outcome, Result
from broker.errors import Nacked, Unavailable, Unconfirmed, Unroutable
from broker.messages import signal_message
from broker.signals import Signal
from broker.store.deliveries.attempts import Claimed
from broker.targets import Format, QueueTarget
from broker.transport import Header, Message, Transport
from workers.couriers import Sent, attempt_of, caused_by, note_result


class QueueCourier:
    """Publishes to a subscriber's queue; only a publisher confirm is a success."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def preview(self, claimed: Claimed) -> Sent:
        """Return the headers and the body of the message."""
        message = _message(claimed, claimed.signal)
        return Sent({name: str(value) for name, value in message.headers.items()}, message.body)

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Publish the signal, persistent and mandatory, with an id that is the same on every attempt."""
        queue, tracer = cast(QueueTarget, claimed.target).queue, tracing.tracer()
        if tracer is None:
            return await self._publish(queue, _message(claimed, claimed.signal), timeout)
        with tracer.sending(queue, attempt_of(claimed)) as span:
            result = await self._publish(queue, _message(claimed, caused_by(span, claimed.signal)), timeout)
            note_result(span, result)
            return result

    async def _publish(self, queue: str, message: Message, timeout: timedelta) -> Result:
        try:
            await self._transport.publish(message, exchange="", routing_key=queue, timeout=timeout)
        except Unroutable:
            return Result(outcome=Outcome.UNROUTABLE, error=f"there is no queue {queue!r}")
        except Nacked as error:
            return Result(outcome=Outcome.REFUSED, error=str(error))
        except Unconfirmed as error:
            return Result(outcome=Outcome.TIMED_OUT, error=str(error))
        except Unavailable as error:
            return Result(outcome=Outcome.UNREACHABLE, error=str(error))
        return Result(outcome=Outcome.SUCCEEDED)


def _message(claimed: Claimed, signal: Signal) -> Message:
    message = signal_message(signal)
    own: dict[str, Header] = {"delivery-id": claimed.message_id, "attempt": claimed.due.attempt}
    headers = {key: value for key, value in message.headers.items() if key not in {"CC", "reach"}} | own
    match cast(QueueTarget, claimed.target).format:
        case Format.STANDARD:
            return replace(message, headers=headers)
        case Format.STRUCTURED:
            return replace(message, headers=headers, body=event_json(signal), content_type=STRUCTURED)
        case Format.BINARY:
            attributes = event_attributes(signal)
            kind = attributes.pop("datacontenttype")
            headers |= {f"{AMQP_PREFIX}{name}": value for name, value in attributes.items()}
            return replace(message, headers=headers, content_type=kind)
