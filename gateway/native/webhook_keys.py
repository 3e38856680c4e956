"""``/v1/webhook-keys``: the keys that receivers verify ``v1a`` signatures with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from aiohttp import web

from broker.access import Permission, Principal, require_unlimited
from broker.schemas.subscriptions import RotationRequest, WebhookKeyList, WebhookKeySchema
from broker.store.administration.webhook_keys import WebhookKey, WebhookKeyStore
from gateway.answers import answer
from gateway.bodies import read_document
from gateway.routes import OpenRoute, Route, SecuredRoute


class WebhookKeysApi:
    """Shows the public keys, and lets administrators rotate them."""

    def __init__(self, keys: WebhookKeyStore) -> None:
        self._keys = keys

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            OpenRoute("GET", "/v1/webhook-keys", self.list, "List webhook keys", {200: WebhookKeyList}),
            SecuredRoute(
                "POST",
                "/v1/webhook-keys/rotate",
                self.rotate,
                "Rotate the webhook key",
                {200: WebhookKeyList},
                RotationRequest,
                permissions=(Permission.ADMIN,),
                may_be_bare=True,
            ),
        ]

    async def list(self, _request: web.Request) -> web.Response:
        """Answer the public keys that webhooks are signed with now. No credentials are needed."""
        return _answer(await self._keys.valid())

    async def rotate(self, request: web.Request, principal: Principal) -> web.Response:
        """Make a new key and answer all that sign now; the previous one signs until the grace period is over."""
        require_unlimited(principal)
        wanted = await read_document(request, RotationRequest, optional=True)
        return _answer(await self._keys.rotate(timedelta(seconds=wanted.grace_seconds), by=principal))


def _answer(keys: Sequence[WebhookKey]) -> web.Response:
    items = [
        WebhookKeySchema(id=key.id, public_key=key.public_key, created_at=key.created_at, valid_until=key.valid_until)
        for key in keys
    ]
    return answer(WebhookKeyList(items=items))
