"""``/v1/webhook-permissions``: the callback by which receivers permit webhooks later."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from aiohttp import hdrs, web

from broker.callbacks import KEY_LIMIT, PATH, Callbacks
from broker.errors import InvalidField
from broker.store.subscriptions.permissions import PermissionStore
from gateway.http_errors import NotFound
from gateway.routes import OpenRoute, Parameter, Route

_KEY = Parameter(
    "key",
    "The key that the receiver was sent in `WebHook-Request-Callback`, within the last 24 hours; 404 without it.",
    {"type": "string", "maxLength": KEY_LIMIT},
)

log = structlog.get_logger()


class WebhookPermissionsApi:
    """Takes the permissions of receivers, who are known by the key that they were sent."""

    def __init__(self, permissions: PermissionStore, callbacks: Callbacks) -> None:
        self._permissions = permissions
        self._callbacks = callbacks

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            OpenRoute("POST", PATH, self.grant, "Permit webhooks", {204: None}, parameters=(_KEY,), refusals=(404,)),
            OpenRoute(
                "GET",
                PATH,
                self.grant,
                "Permit webhooks by browser",
                {204: None},
                parameters=(_KEY,),
                refusals=(404,),
            ),
        ]

    async def grant(self, request: web.Request) -> web.Response:
        """Answer 204 once the receiver that was sent the `key` may get webhooks of the subscription that asked.

        No credentials are needed. What else the receiver sends is not read.
        """
        key = request.query.get(_KEY.name, "")
        if len(key) > KEY_LIMIT:
            raise InvalidField(f"?{_KEY.name}", f"must have {KEY_LIMIT} characters at most")
        receiver = self._callbacks.read(key, now=datetime.now(UTC))
        if receiver is None:
            raise NotFound("There is no such key, or it has expired: each request for permission has a new one.")
        if request.method == hdrs.METH_HEAD:  # as programs that look where a link leads send it
            return web.Response(status=204)
        if not await self._permissions.grant(receiver):
            raise NotFound("The subscription that asked for permission is deleted.")
        log.info("webhook.permitted", subscription_id=receiver.subscription_id)
        return web.Response(status=204)
