"""Webhooks: signed HTTP requests."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from broker.deliveries import Outcome, Result
from broker.errors import Unrenderable
from broker.hops import add_hops
from broker.offloading import Offloader
from broker.secrets import SecretBox
from broker.store.administration.webhook_keys import WebhookKeyStore
from broker.store.deliveries.attempts import Claimed
from broker.targets.webhook import Scheme, WebhookTarget
from workers.couriers import Sent
from workers.webhooks.client import WebhookClient
from workers.webhooks.requests import compose
from workers.webhooks.signing import signature_headers


class WebhookCourier:
    """Sends signed webhooks (Standard Webhooks 1.0)."""

    def __init__(self, client: WebhookClient, secrets: SecretBox, keys: WebhookKeyStore) -> None:
        self._client = client
        self._secrets = secrets
        self._keys = keys
        self._offloader = Offloader()

    def preview(self, claimed: Claimed) -> Sent:
        """Return the body of the request; its headers are known once it was made."""
        try:
            return Sent({}, compose(claimed, cast(WebhookTarget, claimed.target).unseal(self._secrets)).body)
        except Unrenderable:
            return Sent({}, b"")

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Send the request that the target makes of the signal, with an id that is the same on every attempt."""
        target = cast(WebhookTarget, claimed.target).unseal(self._secrets)
        try:
            request = await self._offloader.run(
                partial(compose, claimed, target), size=len(claimed.signal.throw.payload)
            )
        except Unrenderable as error:
            return Result(outcome=Outcome.FAILED, error=str(error))
        throw = claimed.signal.throw
        headers = add_hops(request.headers, throw.hops)
        if throw.traceparent is not None:
            headers["traceparent"] = throw.traceparent
        headers |= signature_headers(
            [self._secrets.open(sealed) for sealed in await self._sealed(claimed, target.signatures)],
            message_id=claimed.message_id,
            timestamp=datetime.now(UTC),
            body=request.body,
        )
        return await self._client.send(
            request.url, method=request.method, body=request.body, headers=headers, timeout=timeout
        )

    async def _sealed(self, claimed: Claimed, schemes: Collection[Scheme]) -> list[bytes]:
        """Return the sealed keys that sign the webhook by each of *schemes*."""
        sealed = list(claimed.secrets) if Scheme.V1 in schemes else []
        if Scheme.V1A in schemes:
            # The first key is made when it is first needed.
            sealed += claimed.signing_keys or [key.private_key for key in await self._keys.valid()]
        return sealed
