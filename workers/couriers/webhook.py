"""Webhooks: signed HTTP requests."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from broker import tracing
from broker.deliveries import Outcome, Result
from broker.errors import Unrenderable
from broker.hops import add_hops
from broker.offloading import Offloader
from broker.secrets import SecretBox
from broker.store.administration.webhook_keys import WebhookKeyStore
from broker.store.deliveries.attempts import Claimed
from broker.targets.webhook import Scheme, WebhookTarget
from workers.couriers import Sent, attempt_of, note_result
from workers.webhooks.client import WebhookClient
from workers.webhooks.permissions import HEADER, Permissions
from workers.webhooks.requests import Request, compose
from workers.webhooks.signing import signature_headers


class WebhookCourier:
    """Sends signed webhooks (Standard Webhooks 1.0)."""

    def __init__(
        self, client: WebhookClient, secrets: SecretBox, keys: WebhookKeyStore, permissions: Permissions
    ) -> None:
        self._client = client
        self._secrets = secrets
        self._keys = keys
        self._permissions = permissions
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
        tracer = tracing.tracer()
        if tracer is None:
            return await self._send(claimed, target, request, claimed.signal.throw.trace, timeout)
        with tracer.calling(request.method, request.url, attempt_of(claimed)) as span:
            result = await self._send(claimed, target, request, span.context, timeout)
            note_result(span, result)
            return result

    async def _send(
        self,
        claimed: Claimed,
        target: WebhookTarget,
        request: Request,
        trace: tracing.TraceContext | None,
        timeout: timedelta,
    ) -> Result:
        origin, began_at = target.request_origin, time.monotonic()
        if origin is not None:
            subscription_id = claimed.due.subscription_id
            refusal = await self._permissions.ask(request.url, origin, subscription_id=subscription_id, timeout=timeout)
            if refusal is not None:
                return refusal
            timeout = max(timeout - timedelta(seconds=time.monotonic() - began_at), timedelta())
        headers = add_hops(request.headers, claimed.signal.throw.hops)
        if origin is not None:
            headers[HEADER] = origin
        if trace is not None:
            headers |= trace.headers
        headers |= signature_headers(
            await self._open(claimed, target.signatures),
            message_id=claimed.message_id,
            timestamp=datetime.now(UTC),
            body=request.body,
        )
        return await self._client.send(
            request.url, method=request.method, body=request.body, headers=headers, timeout=timeout
        )

    async def _open(self, claimed: Claimed, schemes: Collection[Scheme]) -> list[str]:
        """Return what signs the webhook by each of *schemes*: one that does not open is not missed beside another.

        Raises:
            SecretUnreadable: None of a scheme opens.
        """
        opened = self._secrets.open_some(claimed.secrets) if Scheme.V1 in schemes else []
        if Scheme.V1A in schemes:
            # The first key is made when it is first needed.
            sealed = claimed.signing_keys or [key.private_key for key in await self._keys.valid()]
            opened += self._secrets.open_some(sealed)
        return opened
