"""Permissions: receivers that allowed an origin to send to them (HTTP 1.1 Web Hooks for Event Delivery, 4)."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import timedelta

from broker.callbacks import Callbacks, Receiver
from broker.deliveries import Result
from broker.store.subscriptions.permissions import PermissionStore
from workers.webhooks.client import WebhookClient

HEADER = "WebHook-Request-Origin"
_CALLBACK = "WebHook-Request-Callback"
_KEPT = timedelta(hours=1)
_MOST = 10_000
"""How many are kept; the one that was used least recently goes first."""


class Permissions:
    """Asks receivers for permission, and knows for an hour those that gave it.

    One in an answer is for every subscription. One by a callback is for the subscription that asked.
    """

    def __init__(self, client: WebhookClient, store: PermissionStore, callbacks: Callbacks) -> None:
        self._client = client
        self._store = store
        self._callbacks = callbacks
        self._until: OrderedDict[tuple[str, str] | Receiver, float] = OrderedDict()

    async def ask(self, url: str, origin: str, *, subscription_id: int, timeout: timedelta) -> Result | None:
        """Return None if the receiver at *url* allows *origin* to send, or else how the attempt ends."""
        key, receiver = (url, origin), Receiver.at(url, origin, subscription_id=subscription_id)
        if self._is_known(key) or self._is_known(receiver):
            return None
        began_at = time.monotonic()
        if await self._store.is_granted(receiver):
            self._keep(receiver)
            return None
        callback = self._callbacks.url_for(receiver)
        headers = {HEADER: origin} if callback is None else {HEADER: origin, _CALLBACK: callback}
        timeout = max(timeout - timedelta(seconds=time.monotonic() - began_at), timedelta())
        result, allowed = await self._client.ask(url, origin=origin, headers=headers, timeout=timeout)
        if not allowed:
            return result
        self._keep(key)
        return None

    def _is_known(self, key: tuple[str, str] | Receiver) -> bool:
        if self._until.get(key, 0.0) <= time.monotonic():
            self._until.pop(key, None)
            return False
        self._until.move_to_end(key)
        return True

    def _keep(self, key: tuple[str, str] | Receiver) -> None:
        self._until[key] = time.monotonic() + _KEPT.total_seconds()
        if len(self._until) > _MOST:
            self._until.popitem(last=False)
