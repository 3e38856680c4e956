"""The kinds of target: each makes one attempt and says what it came to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from broker.deliveries import Outcome, Result
from broker.errors import Nacked, Unavailable, Unconfirmed, Unrenderable, Unroutable
from broker.messages import signal_message
from broker.secrets import SecretBox
from broker.store.administration.webhook_keys import WebhookKeyStore
from broker.store.deliveries.attempts import Claimed
from broker.subscriptions import Scheme
from broker.transport import Transport
from workers.requests import compose
from workers.signing import signature_headers
from workers.webhook import WebhookClient


class Target(Protocol):
    """Something that a delivery can be attempted at."""

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Make the attempt *claimed* within *timeout*; what the receiver does wrong is a result, not an error."""
        ...


class WebhookTarget:
    """Sends signed webhooks (Standard Webhooks 1.0)."""

    def __init__(self, client: WebhookClient, secrets: SecretBox, keys: WebhookKeyStore) -> None:
        self._client = client
        self._secrets = secrets
        self._keys = keys

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Send what the target makes of the signal, with an id that is the same on every attempt."""
        try:
            request = compose(claimed)
        except Unrenderable as error:
            return Result(outcome=Outcome.FAILED, error=str(error))
        headers = dict(request.headers)
        if claimed.signal.throw.traceparent is not None:
            headers["traceparent"] = claimed.signal.throw.traceparent
        headers |= signature_headers(
            [self._secrets.open(sealed) for sealed in await self._sealed(claimed, claimed.target.signatures)],
            message_id=claimed.message_id,
            timestamp=datetime.now(UTC),
            body=request.body,
        )
        return await self._client.send(
            request.url, method=request.method, body=request.body, headers=headers, timeout=timeout
        )

    async def _sealed(self, claimed: Claimed, schemes: Collection[Scheme]) -> list[bytes]:
        """Return what signs the webhook by each of *schemes*."""
        sealed = list(claimed.secrets) if Scheme.V1 in schemes else []
        if Scheme.V1A in schemes:
            # There is no key yet when nobody signed or asked for one before.
            sealed += claimed.signing_keys or [key.private_key for key in await self._keys.valid()]
        return sealed


class QueueTarget:
    """Publishes to a subscriber's queue; only a publisher confirm is a success."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Publish the signal, persistent and mandatory, with an id that is the same on every attempt."""
        message = signal_message(claimed.signal)
        headers = {key: value for key, value in message.headers.items() if key not in {"CC", "reach"}}
        headers |= {"delivery-id": claimed.message_id, "attempt": claimed.due.attempt}
        queue = claimed.target.address
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
