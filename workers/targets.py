"""The kinds of target: each makes one attempt and says what it came to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from broker.deliveries import Outcome, Result
from broker.documents import signal_json
from broker.errors import Nacked, Unavailable, Unconfirmed, Unroutable
from broker.messages import signal_message
from broker.secrets import SecretBox
from broker.store.deliveries import Claimed
from broker.transport import Transport
from workers.signing import signature_headers
from workers.webhook import WebhookClient


class Target(Protocol):
    """Something that a delivery can be attempted at."""

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Make the attempt *claimed* within *timeout*; what the receiver does wrong is a result, not an error."""
        ...


class WebhookTarget:
    """Posts signed webhooks (Standard Webhooks 1.0)."""

    def __init__(self, client: WebhookClient, secrets: SecretBox) -> None:
        self._client = client
        self._secrets = secrets

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Post the signal with the delivery's id, which is the same on every attempt."""
        terms, due = claimed.subscription.terms, claimed.due
        body = signal_json(
            claimed.signal,
            {"deliveryId": due.delivery_id, "attempt": due.attempt, "subscriptionId": due.subscription_id},
        )
        headers = dict(terms.target.headers) | {"content-type": "application/json"}
        if claimed.signal.throw.traceparent is not None:
            headers["traceparent"] = claimed.signal.throw.traceparent
        if claimed.secret is not None:
            headers |= signature_headers(
                [self._secrets.open(claimed.secret)],
                message_id=due.delivery_id,
                timestamp=datetime.now(UTC),
                body=body,
            )
        return await self._client.post(terms.target.address, body=body, headers=headers, timeout=timeout)


class QueueTarget:
    """Publishes to a subscriber's queue; only a publisher confirm is a success."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Publish the signal, persistent and mandatory, with the delivery's id among its headers."""
        message = signal_message(claimed.signal)
        headers = {key: value for key, value in message.headers.items() if key not in {"CC", "reach"}}
        headers |= {"delivery-id": claimed.due.delivery_id, "attempt": claimed.due.attempt}
        queue = claimed.subscription.terms.target.address
        try:
            await self._transport.publish(
                replace(message, headers=headers), exchange="", routing_key=queue, timeout=timeout
            )
        except Unroutable:
            return Result(outcome=Outcome.UNROUTABLE, error=f"there is no queue {queue!r}")
        except Nacked as error:
            return Result(outcome=Outcome.REFUSED, error=str(error))
        except Unconfirmed as error:
            return Result(outcome=Outcome.TIMED_OUT, error=str(error))
        except Unavailable as error:
            return Result(outcome=Outcome.UNREACHABLE, error=str(error))
        return Result(outcome=Outcome.SUCCEEDED)
